package interop;

import java.util.Map;
import java.util.Properties;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

/** Topics for one type of message; Apache checks it in its proxy only. */
final class TypeScenarios {
    static void add(Suite suite) {
        suite.addOurs("type.checked", TypeScenarios::checked);
    }

    private static void checked(Env env) throws Exception {
        Properties settings = new Properties();
        settings.setProperty("enableTopicMessageTypeCheck", "true");
        env.admin.updateBrokerConfig(env.broker, settings);
        DefaultMQProducer producer = env.producer("type-checked");
        // Refused by the broker's word alone, not tried again.
        producer.setRetryTimesWhenSendFailed(0);
        Message plain = Env.message(topic(env, "NORMAL"), "T", "plain");
        Env.sent(producer.send(plain));
        Message delayed = Env.message("type-normal", "T", "delayed");
        delayed.setDelayTimeLevel(1);
        refused(producer, delayed, "NORMAL", "DELAY");
        Message timed = Env.message(topic(env, "DELAY"), "T", "timed");
        refused(producer, timed, "DELAY", "NORMAL");
        timed.setDelayTimeMs(10);
        Env.sent(producer.send(timed));
        Message ordered = Env.message(topic(env, "FIFO"), "T", "ordered");
        refused(producer, ordered, "FIFO", "NORMAL");
        producer.shutdown();
    }

    private static String topic(Env env, String type) throws Exception {
        TopicConfig config = new TopicConfig("type-" + type.toLowerCase(), 1, 1);
        config.setAttributes(Map.of("+message.type", type));
        env.admin.createAndUpdateTopicConfig(env.broker, config);
        Env.await("the route of " + config.getTopicName(), 5_000, () -> env.routeExists(config.getTopicName()));
        return config.getTopicName();
    }

    private static void refused(DefaultMQProducer producer, Message message, String wanted, String given) throws Exception {
        try {
            producer.send(message);
            throw new AssertionError("a " + given + " message was taken for a topic of " + wanted);
        } catch (MQBrokerException e) {
            Env.equal("code", ResponseCode.MESSAGE_ILLEGAL, e.getResponseCode());
            Env.contains("remark", e.getErrorMessage(), wanted, given);
        }
    }
}
