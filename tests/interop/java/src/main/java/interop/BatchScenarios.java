package interop;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Topics in which a batch stays one record: consumers take it apart. */
final class BatchScenarios {
    static void add(Suite suite) {
        suite.add("batches.by-hand", BatchScenarios::byHand);
        suite.add("batches.automatic", BatchScenarios::automatic);
        suite.add("batches.retry", BatchScenarios::retry);
    }

    private static void byHand(Env env) throws Exception {
        String topic = env.topicWith("batches-by-hand", "+queue.type", "BatchCQ");
        DefaultMQProducer producer = env.producer(topic);
        List<String> bodies = new ArrayList<>();
        for (int batch = 0; batch < 3; batch++) {
            List<Message> messages = new ArrayList<>();
            for (int i = 0; i < 20; i++) {
                messages.add(Env.message(topic, "T", batch + "-" + i));
                bodies.add(batch + "-" + i);
            }
            SendResult sent = Env.sent(producer.send(messages));
            Env.equal("offset of the first", batch * 20L, sent.getQueueOffset());
            Env.check(!sent.getOffsetMsgId().contains(","), "one record has one id: " + sent.getOffsetMsgId());
            Env.check(!sent.getMsgId().contains(","), "the batch has an id of its own: " + sent.getMsgId());
        }
        Env.equal("end of the queue", 60L, env.admin.maxOffset(new MessageQueue(topic, env.brokerName, 0)));
        List<MessageExt> received = new Received(env, topic, "*").expect(bodies);
        Set<Long> offsets = new HashSet<>();
        received.forEach(message -> offsets.add(message.getQueueOffset()));
        Env.equal("offsets", 60, offsets.size());
        producer.shutdown();
    }

    private static void automatic(Env env) throws Exception {
        String topic = env.topicWith("batches-automatic", "+queue.type", "BatchCQ");
        DefaultMQProducer producer = env.producer(topic);
        producer.batchMaxDelayMs(20);
        producer.setAutoBatch(true);
        List<String> bodies = IntStream.range(0, 500).mapToObj(i -> "a" + i).toList();
        List<CompletableFuture<SendResult>> results = new ArrayList<>();
        for (String body : bodies) {
            results.add(Env.sendAsync(producer, Env.message(topic, "T", body)));
        }
        Set<String> records = new HashSet<>();
        for (CompletableFuture<SendResult> result : results) {
            records.add(Env.sent(result.get(20, TimeUnit.SECONDS)).getOffsetMsgId());
        }
        Env.check(records.size() < bodies.size() / 2, "messages became batches: " + records.size());
        Env.equal("end of the queue", 500L, env.admin.maxOffset(new MessageQueue(topic, env.brokerName, 0)));
        // By their common tag.
        new Received(env, topic, "T").expect(bodies);
        producer.shutdown();
    }

    private static void retry(Env env) throws Exception {
        String topic = env.topicWith("batches-retry", "+queue.type", "BatchCQ");
        DefaultMQProducer producer = env.producer(topic);
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            messages.add(Env.message(topic, "T", "r" + i));
        }
        Env.sent(producer.send(messages));
        Queue<String> received = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            boolean fails = false;
            for (MessageExt message : batch) {
                fails |= message.getReconsumeTimes() == 0 && Env.body(message).equals("r3");
                received.add(Env.body(message));
            }
            return fails ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Env.awaitSize("messages", received, 6, 40_000);
        consumer.shutdown();
        Env.sameElements("bodies", List.of("r0", "r1", "r2", "r3", "r3", "r4"), received);
        producer.shutdown();
    }
}
