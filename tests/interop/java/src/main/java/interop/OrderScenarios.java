package interop;

import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Orderly queues that go on in spite of a hopeless message, what becomes of it, and the order configuration of a topic. */
final class OrderScenarios {
    static void add(Suite suite) {
        suite.add("order.gives-up", OrderScenarios::givesUp);
        suite.add("retry.dead-letters-read", OrderScenarios::deadLettersRead);
        suite.addAlone("order.conf", OrderScenarios::conf);
    }

    /** A message that always fails is tried in place, then becomes a dead letter, and those behind it follow. */
    private static void givesUp(Env env) throws Exception {
        String topic = env.topic("order-gives-up", 1);
        DefaultMQProducer producer = env.producer(topic);
        Queue<String> tries = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
        consumer.setMaxReconsumeTimes(2);
        consumer.setSuspendCurrentQueueTimeMillis(100);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
            tries.add(Env.body(batch.get(0)));
            return Env.body(batch.get(0)).equals("m1") ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        Env.sendMany(producer, topic, "T", "m", 4);
        Env.awaitSize("tries", tries, 6, 20_000);
        Env.equal("tries in order", List.of("m0", "m1", "m1", "m1", "m2", "m3"), List.copyOf(tries));
        String dead = "%DLQ%C-" + topic;
        Env.await("the route of " + dead, 20_000, () -> env.routeExists(dead));
        Env.await("the dead letter", 5_000, () -> env.admin.maxOffset(new MessageQueue(dead, env.brokerName, 0)) == 1);
        Env.equal("dead letter", "m1", Env.body(Pulled.first(env, dead)));
        consumer.shutdown();
        producer.shutdown();
    }

    /** Dead letters are consumed like other messages, and sent again to where they came from. */
    private static void deadLettersRead(Env env) throws Exception {
        String topic = env.topic("retry-dead-read", 1);
        DefaultMQProducer producer = env.producer(topic);
        String group = "C-" + topic;
        Queue<MessageExt> repaired = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = env.pushConsumer(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            context.setDelayLevelWhenNextConsume(-1);
            if (batch.get(0).getProperty("REPAIRED") == null) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            repaired.addAll(batch);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Env.sendMany(producer, topic, "T", "broken", 3);
        String dead = "%DLQ%" + group;
        Env.await("the route of " + dead, 20_000, () -> env.routeExists(dead));
        Received readers = new Received(env.pushConsumer("C-readers-" + topic), dead, "*");
        Env.awaitSize("dead letters", readers.messages, 3, 25_000);
        for (MessageExt letter : readers.messages) {
            Message again = Env.message(letter.getProperty(MessageConst.PROPERTY_RETRY_TOPIC), letter.getTags(), Env.body(letter));
            again.putUserProperty("REPAIRED", "true");
            Env.sent(producer.send(again));
        }
        Env.awaitSize("messages sent again", repaired, 3, 10_000);
        Env.sameElements("bodies", List.of("broken0", "broken1", "broken2"), repaired.stream().map(Env::body).toList());
        readers.stop();
        consumer.shutdown();
        producer.shutdown();
    }

    /** Where name servers add a topic's order configuration to its route, producers see the queues that it names. */
    private static void conf(Env env) throws Exception {
        String topic = env.topic("order-conf", 4);
        Admin.run(env, "updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "true");
        try {
            Admin.run(env, "updateOrderConf", "-t", topic, "-m", "put", "-v", env.brokerName + ":2");
            DefaultMQProducer producer = env.producer(topic);
            List<MessageQueue> queues = producer.fetchPublishMessageQueues(topic);
            Env.equal("queues", List.of(0, 1), queues.stream().map(MessageQueue::getQueueId).sorted().toList());
            Queue<String> seen = new ConcurrentLinkedQueue<>();
            DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
                batch.forEach(message -> seen.add(message.getQueueId() + ":" + message.getQueueOffset()));
                return ConsumeOrderlyStatus.SUCCESS;
            });
            consumer.start();
            for (int i = 0; i < 20; i++) {
                Env.sent(producer.send(Env.message(topic, "T", "m" + i), (all, message, key) -> all.get((int) key % all.size()), i));
            }
            Env.awaitSize("messages", seen, 20, 20_000);
            for (int queue = 0; queue < 2; queue++) {
                String of = queue + ":";
                List<String> offsets = seen.stream().filter(place -> place.startsWith(of)).toList();
                Env.equal("order in queue " + queue, java.util.stream.IntStream.range(0, 10).mapToObj(i -> of + i).toList(), offsets);
            }
            consumer.shutdown();
            producer.shutdown();
        } finally {
            Admin.run(env, "updateOrderConf", "-t", topic, "-m", "delete");
            Admin.run(env, "updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "false");
        }
    }
}
