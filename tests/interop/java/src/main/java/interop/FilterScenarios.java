package interop;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** SQL92 filters: what matches and only that comes, errors are told at the start, another expression counts at once. */
@SuppressWarnings("deprecation")
final class FilterScenarios {
    private static final String EXPRESSION =
        "(price BETWEEN 10 AND 19 AND region IN ('eu', 'us')) OR vip = TRUE OR (TAGS = 'T' AND note STARTSWITH 'it''s')";

    static void add(Suite suite) {
        suite.add("filter.push", FilterScenarios::push);
        suite.add("filter.pull", FilterScenarios::pull);
        suite.add("filter.lite", FilterScenarios::lite);
        suite.add("filter.errors", FilterScenarios::errors);
        suite.add("filter.changed", FilterScenarios::changed);
    }

    private static Message message(String topic, String body, String... properties) {
        Message message = Env.message(topic, "T", body);
        for (int i = 0; i < properties.length; i += 2) {
            message.putUserProperty(properties[i], properties[i + 1]);
        }
        return message;
    }

    /** Sends messages, some of which match the expression; returns the bodies of those. */
    private static List<String> sendMixed(DefaultMQProducer producer, String topic) throws Exception {
        List<String> matching = new ArrayList<>();
        for (int i = 0; i < 40; i++) {
            boolean eu = i % 2 == 0;
            if (i >= 10 && i < 20 && eu) {
                matching.add("m" + i);
            }
            Env.sent(producer.send(message(topic, "m" + i, "price", "" + i, "region", eu ? "eu" : "asia")));
        }
        Env.sent(producer.send(message(topic, "vip", "vip", "True", "price", "1")));
        Env.sent(producer.send(message(topic, "note", "note", "it's here", "price", "1")));
        // A price that is no number: an error of this message, which so does not match.
        Env.sent(producer.send(message(topic, "broken", "price", "much", "region", "eu", "vip", "true")));
        Env.sent(producer.send(message(topic, "bare")));
        matching.addAll(List.of("vip", "note"));
        return matching;
    }

    private static void push(Env env) throws Exception {
        String topic = env.topic("filter-push", 2);
        DefaultMQProducer producer = env.producer(topic);
        List<String> before = sendMixed(producer, topic);
        Received received = start(env.pushConsumer("C-" + topic), topic, EXPRESSION);
        Env.awaitSize("messages sent before", received.messages, before.size(), 15_000);
        // Now the consumer waits at the end of the queues.
        List<String> all = new ArrayList<>(before);
        all.addAll(sendMixed(producer, topic));
        received.expect(all);
        producer.shutdown();
    }

    private static Received start(DefaultMQPushConsumer consumer, String topic, String expression) throws Exception {
        return new Received(consumer, topic, MessageSelector.bySql(expression));
    }

    private static void pull(Env env) throws Exception {
        String topic = env.topic("filter-pull", 1);
        DefaultMQProducer producer = env.producer(topic);
        List<String> matching = sendMixed(producer, topic);
        MessageQueue queue = new MessageQueue(topic, env.brokerName, 0);
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("C-" + topic);
        consumer.setNamesrvAddr(env.namesrv);
        consumer.start();
        // The client pulls by an expression from brokers only whose version a heartbeat has told it.
        MQClientInstance client = consumer.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory();
        client.updateTopicRouteInfoFromNameServer(topic);
        client.sendHeartbeatToAllBrokerWithLock();
        List<String> got = new ArrayList<>();
        for (long at = 0; at < 44; ) {
            PullResult result = consumer.pull(queue, MessageSelector.bySql(EXPRESSION), at, 32);
            if (result.getPullStatus() == PullStatus.FOUND) {
                result.getMsgFoundList().forEach(message -> got.add(Env.body(message)));
            }
            Env.check(result.getNextBeginOffset() > at, "no progress at " + at + ": " + result);
            at = result.getNextBeginOffset();
        }
        Env.equal("matching, in order", matching, got);
        Env.equal("without a match", PullStatus.NO_MATCHED_MSG, consumer.pull(queue, MessageSelector.bySql("price > 1000"), 0, 32).getPullStatus());

        consumer.shutdown();
        producer.shutdown();
    }

    private static void lite(Env env) throws Exception {
        String topic = env.topic("filter-lite", 2);
        DefaultMQProducer producer = env.producer(topic);
        List<String> matching = sendMixed(producer, topic);
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer("C-" + topic);
        consumer.setNamesrvAddr(env.namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, MessageSelector.bySql(EXPRESSION));
        consumer.start();
        List<String> got = new ArrayList<>();
        Env.await("all that match", 15_000, () -> {
            for (MessageExt message : consumer.poll(200)) {
                got.add(Env.body(message));
            }
            return got.size() >= matching.size();
        });
        consumer.poll(300).forEach(message -> got.add(Env.body(message)));
        Env.sameElements("what matches", matching, got);
        consumer.shutdown();
        producer.shutdown();
    }

    /** The client asks the broker about the expression when it starts. */
    private static void errors(Env env) throws Exception {
        String topic = env.topic("filter-errors", 1);
        for (String expression : List.of("price >> 3", "price BETWEEN 9 AND 1", "region = \"eu\"", "price > 'a'")) {
            DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
            try {
                start(consumer, topic, expression);
                throw new AssertionError("started with " + expression);
            } catch (MQClientException e) {
                Env.equal("code for " + expression, 23, e.getResponseCode());
            } finally {
                consumer.shutdown();
            }
        }
    }

    private static void changed(Env env) throws Exception {
        String topic = env.topic("filter-changed", 1);
        DefaultMQProducer producer = env.producer(topic);
        Received received = start(env.pushConsumer("C-" + topic), topic, "price < 10");
        Env.sent(producer.send(message(topic, "low1", "price", "1")));
        Env.sent(producer.send(message(topic, "high1", "price", "11")));
        Env.awaitSize("the low one", received.messages, 1, 15_000);
        received.consumer.subscribe(topic, MessageSelector.bySql("price > 10"));
        // Until the broker has heard of the new expression, the old one counts.
        Env.await("a high one", 15_000, () -> {
            Env.sent(producer.send(message(topic, "high2", "price", "12")));
            Thread.sleep(200);
            return received.bodies().contains("high2");
        });
        Env.sent(producer.send(message(topic, "low2", "price", "2")));
        Env.sent(producer.send(message(topic, "high3", "price", "13")));
        Env.await("the last one", 15_000, () -> received.bodies().contains("high3"));
        received.stop();
        Env.check(!received.bodies().contains("low2"), "got what the old expression wanted: " + received.bodies());
        producer.shutdown();
    }
}
