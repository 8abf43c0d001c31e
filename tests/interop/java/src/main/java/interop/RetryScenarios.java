package interop;

import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Function;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Messages that consumers hand back: they come again later, counted, and end in the dead-letter topic. */
final class RetryScenarios {
    static void add(Suite suite) {
        suite.add("retry.default-delay", env -> comesAgain(env, "retry-default", 0, 10_000));
        suite.add("retry.own-delay", env -> comesAgain(env, "retry-own", 1, 1_000));
        suite.add("retry.grows", RetryScenarios::grows);
        suite.add("retry.dead-letter", RetryScenarios::deadLetter);
        suite.add("retry.straight-to-dead-letter", RetryScenarios::straight);
    }

    private record Try(MessageExt message, long at) { }

    /**
     * A consumer of a group that has been here before: a client learns of its new group's retry topic only from the next
     * route poll, and takes it up at the next rebalance, 20 s apart.
     */
    private static DefaultMQPushConsumer consumer(Env env, String topic) throws Exception {
        String group = "C-" + topic;
        Received earlier = new Received(env.pushConsumer(group), topic, "*");
        Env.await("the retry topic of " + group, 5_000, () -> env.routeExists("%RETRY%" + group));
        earlier.stop();
        return env.pushConsumer(group);
    }

    private static Queue<Try> consume(DefaultMQPushConsumer consumer, String topic, int delayLevel,
        Function<MessageExt, Boolean> succeeds) throws Exception {
        Queue<Try> tries = new ConcurrentLinkedQueue<>();
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (List<MessageExt> batch, ConsumeConcurrentlyContext context) -> {
            tries.add(new Try(batch.get(0), System.currentTimeMillis()));
            context.setDelayLevelWhenNextConsume(delayLevel);
            return succeeds.apply(batch.get(0)) ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        return tries;
    }

    /** Level 0 lets the broker choose: level 3, 10 s, at the first retry. */
    private static void comesAgain(Env env, String topic, int delayLevel, long dueMs) throws Exception {
        env.topic(topic, 1);
        DefaultMQProducer producer = env.producer(topic);
        DefaultMQPushConsumer consumer = consumer(env, topic);
        Queue<Try> tries = consume(consumer, topic, delayLevel, message -> message.getReconsumeTimes() > 0);
        SendResult sent = Env.sent(producer.send(Env.message(topic, "T", "again")));
        Env.awaitSize("tries", tries, 2, dueMs + 10_000);
        Try first = tries.poll();
        Try second = tries.poll();
        long took = second.at - first.at;
        Env.check(took >= dueMs - 50 && took < dueMs + 2_000, "came again after " + took + " ms");
        Env.equal("reconsume times", 1, second.message.getReconsumeTimes());
        Env.equal("body", "again", Env.body(second.message));
        Env.equal("topic that the listener sees", topic, second.message.getTopic());
        Env.equal("tag", "T", second.message.getTags());
        Env.equal("unique id", sent.getMsgId(), second.message.getMsgId());
        Env.equal("id of the original", sent.getOffsetMsgId(), second.message.getProperty(MessageConst.PROPERTY_ORIGIN_MESSAGE_ID));
        Thread.sleep(1_500);
        Env.equal("further tries", 0, tries.size());
        consumer.shutdown();
        producer.shutdown();
    }

    private static void grows(Env env) throws Exception {
        String topic = env.topic("retry-grows", 1);
        DefaultMQProducer producer = env.producer(topic);
        DefaultMQPushConsumer consumer = consumer(env, topic);
        Queue<Try> tries = consume(consumer, topic, 1, message -> message.getReconsumeTimes() >= 3);
        Env.sent(producer.send(Env.message(topic, "T", "again and again")));
        Env.awaitSize("tries", tries, 4, 20_000);
        Env.equal("reconsume times", List.of(0, 1, 2, 3), tries.stream().map(one -> one.message.getReconsumeTimes()).toList());
        consumer.shutdown();
        producer.shutdown();
    }

    private static void deadLetter(Env env) throws Exception {
        String topic = env.topic("retry-dead", 1);
        DefaultMQProducer producer = env.producer(topic);
        DefaultMQPushConsumer consumer = consumer(env, topic);
        consumer.setMaxReconsumeTimes(1);
        Queue<Try> tries = consume(consumer, topic, 1, message -> false);
        SendResult sent = Env.sent(producer.send(Env.message(topic, "T", "hopeless")));
        MessageExt dead = deadLetterOf(env, consumer);
        Env.equal("tries", 2, tries.size());
        Env.equal("body", "hopeless", Env.body(dead));
        Env.equal("id of the original", sent.getOffsetMsgId(), dead.getProperty(MessageConst.PROPERTY_ORIGIN_MESSAGE_ID));
        Env.equal("topic of the original", topic, dead.getProperty(MessageConst.PROPERTY_RETRY_TOPIC));
        consumer.shutdown();
        producer.shutdown();
    }

    /** Delay level -1 asks for the dead-letter topic at once. */
    private static void straight(Env env) throws Exception {
        String topic = env.topic("retry-straight", 1);
        DefaultMQProducer producer = env.producer(topic);
        DefaultMQPushConsumer consumer = consumer(env, topic);
        Queue<Try> tries = consume(consumer, topic, -1, message -> false);
        Env.sent(producer.send(Env.message(topic, "T", "straight")));
        Env.equal("body", "straight", Env.body(deadLetterOf(env, consumer)));
        Env.equal("tries", 1, tries.size());
        consumer.shutdown();
        producer.shutdown();
    }

    private static MessageExt deadLetterOf(Env env, DefaultMQPushConsumer consumer) throws Exception {
        String topic = "%DLQ%" + consumer.getConsumerGroup();
        Env.await("the route of " + topic, 20_000, () -> env.routeExists(topic));
        Env.await("a message in " + topic, 5_000, () -> env.admin.maxOffset(new MessageQueue(topic, env.brokerName, 0)) == 1);
        return Pulled.first(env, topic);
    }
}
