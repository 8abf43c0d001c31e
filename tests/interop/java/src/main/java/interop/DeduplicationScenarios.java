package interop;

import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;

/** A topic in which a message that is sent again, as a client does after a time-out, is stored once. */
final class DeduplicationScenarios {
    static void add(Suite suite) {
        suite.addOurs("deduplication.resend", DeduplicationScenarios::resend);
    }

    private static void resend(Env env) throws Exception {
        String topic = "deduplication-resend";
        TopicConfig config = new TopicConfig(topic, 4, 4);
        config.setAttributes(Map.of("+deduplication.window.ms", "600000"));
        env.admin.createAndUpdateTopicConfig(env.broker, config);
        Env.await("the route of " + topic, 5_000, () -> env.routeExists(topic));
        DefaultMQProducer producer = env.producer(topic);
        Message message = Env.message(topic, "T", "once");
        SendResult first = Env.sent(producer.send(message));
        // The client gives a message its key when it is first sent; this one goes to another queue.
        SendResult again = Env.sent(producer.send(message));
        Env.equal("id", first.getMsgId(), again.getMsgId());
        Env.equal("place", first.getOffsetMsgId(), again.getOffsetMsgId());
        Env.equal("queue", first.getMessageQueue().getQueueId(), again.getMessageQueue().getQueueId());
        SendResult other = Env.sent(producer.send(Env.message(topic, "T", "other")));
        Env.check(!other.getOffsetMsgId().equals(first.getOffsetMsgId()), "another message has a place of its own");
        new Received(env, topic, "*").expect(List.of("once", "other"));
        producer.shutdown();
    }
}
