package interop;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

/** What users read when something is not as it should be. */
final class ErrorScenarios {
    static void add(Suite suite) {
        suite.add("error.unknown-topic-route", ErrorScenarios::unknownRoute);
        suite.add("error.body-too-large", ErrorScenarios::bodyTooLarge);
        suite.add("error.properties-too-large", ErrorScenarios::propertiesTooLarge);
        suite.add("error.queue-out-of-range", ErrorScenarios::queueOutOfRange);
        suite.add("error.no-permission", ErrorScenarios::noPermission);
        suite.add("error.unknown-group", ErrorScenarios::unknownGroup);
        suite.addAlone("error.auto-create-off", ErrorScenarios::autoCreateOff);
    }

    /** The error that an action ends in, as the broker or the name server told it. */
    private static int codeOf(String what, Callable<?> action, String... parts) throws Exception {
        Throwable error = null;
        try {
            action.call();
        } catch (Exception e) {
            error = e;
        }
        Env.check(error != null, what + " was accepted");
        // A producer wraps the broker's answer.
        for (; error != null; error = error.getCause()) {
            if (error instanceof MQBrokerException answer) {
                Env.contains(what, answer.getErrorMessage(), parts);
                return answer.getResponseCode();
            }
            if (error instanceof MQClientException answer && answer.getCause() == null) {
                Env.contains(what, String.valueOf(answer), parts);
                return answer.getResponseCode();
            }
        }
        throw new AssertionError(what + " failed without an answer of the server");
    }

    private static void unknownRoute(Env env) throws Exception {
        int code = codeOf("route of an unknown topic", () -> env.admin.examineTopicRouteInfo("no-such-topic"), "no-such-topic");
        Env.equal("code", ResponseCode.TOPIC_NOT_EXIST, code);
    }

    private static void bodyTooLarge(Env env) throws Exception {
        String topic = env.topic("error-body", 1);
        DefaultMQProducer producer = env.producer(topic);
        byte[] body = new byte[4 * 1024 * 1024 + 1];
        new Random(1).nextBytes(body);
        Env.equal("code of the client's own check", ResponseCode.MESSAGE_ILLEGAL,
            codeOf("a body over 4 MiB", () -> producer.send(new Message(topic, body)), "4194304"));
        producer.setMaxMessageSize(16 * 1024 * 1024);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        Env.equal("code", ResponseCode.MESSAGE_ILLEGAL,
            codeOf("a body over 4 MiB", () -> producer.send(new Message(topic, body), 10_000), "4194304"));
        Env.sent(producer.send(Env.message(topic, "T", "the connection still works")));
        producer.shutdown();
    }

    private static void propertiesTooLarge(Env env) throws Exception {
        String topic = env.topic("error-properties", 1);
        DefaultMQProducer producer = env.producer(topic);
        Message message = Env.message(topic, "T", "small");
        message.putUserProperty("large", "x".repeat(40_000));
        Env.equal("code", ResponseCode.MESSAGE_ILLEGAL, codeOf("properties over 32 KiB", () -> producer.send(message), "properties"));
        producer.shutdown();
    }

    private static void queueOutOfRange(Env env) throws Exception {
        String topic = env.topic("error-queue", 2);
        DefaultMQProducer producer = env.producer(topic);
        codeOf("a send to queue 9 of 2",
            () -> producer.send(Env.message(topic, "T", "x"), new MessageQueue(topic, env.brokerName, 9)), "9", topic);
        producer.shutdown();
    }

    @SuppressWarnings("deprecation")
    private static void noPermission(Env env) throws Exception {
        String topic = "error-write-only";
        TopicConfig writeOnly = new TopicConfig(topic, 1, 1);
        writeOnly.setPerm(2);
        env.admin.createAndUpdateTopicConfig(env.broker, writeOnly);
        Env.await("the route", 5_000, () -> env.routeExists(topic));
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("C-" + topic);
        consumer.setNamesrvAddr(env.namesrv);
        consumer.start();
        Env.equal("code", ResponseCode.NO_PERMISSION, codeOf("a pull from a topic that may only be written",
            () -> consumer.pull(new MessageQueue(topic, env.brokerName, 0), "*", 0, 1), topic));
        consumer.shutdown();
    }

    private static void unknownGroup(Env env) throws Exception {
        // Its retry topic is what is looked for first.
        Env.equal("code", ResponseCode.TOPIC_NOT_EXIST, codeOf("connections of a group that nobody was ever in",
            () -> env.admin.examineConsumerConnectionInfo("no-such-group"), "%RETRY%no-such-group"));
    }

    /** With automatic creation off, a send to a missing topic says that it does not exist. */
    private static void autoCreateOff(Env env) throws Exception {
        setAutoCreate(env, false);
        try {
            DefaultMQProducer producer = env.producer("error-auto-create");
            for (String topic : List.of("error-auto-create", "error-auto-create-2")) {
                codeOf("a send to a missing topic", () -> producer.send(new Message(topic, "x".getBytes(StandardCharsets.UTF_8))), topic);
                Env.check(!env.routeExists(topic), topic + " was created");
            }
            producer.shutdown();
        } finally {
            setAutoCreate(env, true);
        }
    }

    private static void setAutoCreate(Env env, boolean on) throws Exception {
        java.util.Properties properties = new java.util.Properties();
        properties.setProperty("autoCreateTopicEnable", String.valueOf(on));
        env.admin.updateBrokerConfig(env.broker, properties);
    }
}
