package interop;

import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Queue;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

/** Messages that are delivered at a time of their own, and those that are recalled before it. */
final class TimerScenarios {
    /** Apache's broker delivers at the end of the second. */
    private static final long LATEST_MS = 1_500;
    private static final int YEAR_S = 365 * 24 * 3600;

    static void add(Suite suite) {
        suite.add("timer.delivers", TimerScenarios::delivers);
        suite.add("timer.refuses", TimerScenarios::refuses);
        suite.add("timer.recall", TimerScenarios::recall);
        suite.add("timer.retry", TimerScenarios::retry);
        suite.addAlone("timer.restart", TimerScenarios::restart);
    }

    private static Message message(String topic, String body) {
        Message message = Env.message(topic, "T", body);
        message.setKeys("key-" + body);
        message.putUserProperty("user", body);
        return message;
    }

    private static void delivers(Env env) throws Exception {
        String topic = env.topic("timer-delivers", 2);
        DefaultMQProducer producer = env.producer(topic);
        Received received = new Received(env, topic, "T");
        Map<String, Long> due = new ConcurrentHashMap<>();
        for (String body : List.of("seconds", "milliseconds", "time", "past", "level")) {
            Message message = message(topic, body);
            long now = System.currentTimeMillis();
            switch (body) {
                case "seconds" -> message.setDelayTimeSec(2);
                case "milliseconds" -> message.setDelayTimeMs(1_300);
                case "time" -> message.setDeliverTimeMs(now + 2_750);
                case "past" -> message.setDeliverTimeMs(now - 2_750);
                default -> {
                    // The level counts.
                    message.setDelayTimeMs(60_000);
                    message.setDelayTimeLevel(1);
                }
            }
            due.put(body, now + Map.of("seconds", 2_000, "milliseconds", 1_300, "time", 2_750, "past", 0, "level", 1_000).get(body));
            Env.sent(producer.send(message));
        }
        for (MessageExt message : received.expect(due.keySet())) {
            String body = Env.body(message);
            long late = message.getStoreTimestamp() - due.get(body);
            Env.check(late >= 0 && late < LATEST_MS, body + " came " + late + " ms late");
            Env.equal("keys", "key-" + body, message.getKeys());
            Env.equal("user property", body, message.getUserProperty("user"));
            Env.equal("topic", topic, message.getTopic());
            boolean waited = !List.of("past", "level").contains(body);
            Env.equal("has its time", waited, message.getProperty("TIMER_OUT_MS") != null);
        }
        producer.shutdown();
    }

    private static void refuses(Env env) throws Exception {
        String topic = env.topic("timer-refuses", 1);
        DefaultMQProducer producer = env.producer(topic);
        Message far = message(topic, "far");
        far.setDelayTimeSec(20L * YEAR_S);
        refused(ResponseCode.MESSAGE_ILLEGAL, "timer message illegal", () -> producer.send(far));
        Message unread = message(topic, "unread");
        unread.putUserProperty("timer", "x");
        unread.getProperties().put(MessageConst.PROPERTY_TIMER_DELAY_MS, "soon");
        refused(ResponseCode.MESSAGE_ILLEGAL, "timer message illegal", () -> producer.send(unread));
        producer.shutdown();
    }

    private static void refused(int code, String text, Callable<?> action) throws Exception {
        try {
            action.call();
        } catch (MQBrokerException e) {
            Env.equal("code", code, e.getResponseCode());
            Env.contains("error", e.getErrorMessage(), text);
            return;
        }
        throw new AssertionError("was not refused with: " + text);
    }

    private static void recall(Env env) throws Exception {
        // Off by default with Apache's broker.
        Properties on = new Properties();
        on.setProperty("recallMessageEnable", "true");
        env.admin.updateBrokerConfig(env.broker, on);
        String topic = env.topic("timer-recall", 1);
        String other = env.topic("timer-recall-other", 1);
        DefaultMQProducer producer = env.producer(topic);
        Received received = new Received(env, topic, "*");
        Message recalled = message(topic, "recalled");
        recalled.setDelayTimeMs(3_000);
        SendResult sent = Env.sent(producer.send(recalled));
        Message kept = message(topic, "kept");
        kept.setDelayTimeMs(3_000);
        SendResult keptSent = Env.sent(producer.send(kept));
        Env.check(sent.getRecallHandle() != null, "no recall handle");
        Env.equal("no handle of a message without a time", null, Env.sent(producer.send(message(topic, "now"))).getRecallHandle());
        Env.equal("id of the recalled", sent.getMsgId(), producer.recallMessage(topic, sent.getRecallHandle()));
        Env.equal("id of the recalled twice", sent.getMsgId(), producer.recallMessage(topic, sent.getRecallHandle()));
        refused(ResponseCode.ILLEGAL_OPERATION, "topic not match", () -> producer.recallMessage(other, sent.getRecallHandle()));
        Env.awaitSize("messages", received.messages, 2, 10_000);
        Thread.sleep(LATEST_MS);
        received.expect(List.of("now", "kept"));
        refused(ResponseCode.ILLEGAL_OPERATION, "timestamp invalid", () -> producer.recallMessage(topic, keptSent.getRecallHandle()));
        producer.shutdown();
    }

    /** A message that had its time and fails comes again after the delay of retries, not after its own once more. */
    private static void retry(Env env) throws Exception {
        String topic = env.topic("timer-retry", 1);
        DefaultMQProducer producer = env.producer(topic);
        String group = "C-" + topic;
        Received earlier = new Received(env.pushConsumer(group), topic, "*");
        Env.await("the retry topic of " + group, 5_000, () -> env.routeExists("%RETRY%" + group));
        earlier.stop();
        DefaultMQPushConsumer consumer = env.pushConsumer(group);
        Queue<Long> tries = new ConcurrentLinkedQueue<>();
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            tries.add(System.currentTimeMillis());
            context.setDelayLevelWhenNextConsume(1);
            return batch.get(0).getReconsumeTimes() > 0 ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        Message message = message(topic, "fails once");
        message.setDelayTimeSec(6);
        Env.sent(producer.send(message));
        Env.awaitSize("tries", tries, 2, 15_000);
        long between = -tries.poll() + tries.poll();
        Env.check(between >= 950 && between < 4_000, "came again after " + between + " ms");
        consumer.shutdown();
        producer.shutdown();
    }

    private static void restart(Env env) throws Exception {
        String topic = env.topic("timer-restart", 1);
        DefaultMQProducer producer = env.producer(topic);
        long due = System.currentTimeMillis() + 4_000;
        // Some due before the stop, some while nothing runs, some after the start.
        for (int i = 0; i < 20; i++) {
            Message message = message(topic, "m" + i);
            message.setDeliverTimeMs(due - 3_000 + 300 * i);
            Env.sent(producer.send(message));
        }
        Suite.restartServer();
        Received received = new Received(env, topic, "*");
        Env.awaitSize("messages", received.messages, 20, 30_000);
        Thread.sleep(LATEST_MS);
        received.stop();
        Env.distinct("bodies", received.bodies());
        for (MessageExt message : received.messages) {
            long time = Long.parseLong(message.getProperty(MessageConst.PROPERTY_TIMER_DELIVER_MS));
            Env.check(message.getStoreTimestamp() >= time, Env.body(message) + " came " + (time - message.getStoreTimestamp()) + " ms early");
        }
        producer.shutdown();
    }
}
