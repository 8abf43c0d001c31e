package interop;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Reads a topic from its first to its last message, without a consumer group's offsets. */
@SuppressWarnings("deprecation")
final class Pulled {
    static List<MessageExt> all(Env env, String topic) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("C-pulled");
        consumer.setNamesrvAddr(env.namesrv);
        consumer.setInstanceName("pulled-" + topic.replace('%', '_'));
        consumer.start();
        try {
            List<MessageExt> messages = new ArrayList<>();
            for (MessageQueue queue : env.queues(topic)) {
                long at = consumer.minOffset(queue);
                while (at < consumer.maxOffset(queue)) {
                    PullResult result = consumer.pull(queue, "*", at, 32);
                    Env.equal("pull of " + queue + " at " + at, PullStatus.FOUND, result.getPullStatus());
                    messages.addAll(result.getMsgFoundList());
                    at = result.getNextBeginOffset();
                }
            }
            return messages;
        } finally {
            consumer.shutdown();
        }
    }

    static MessageExt first(Env env, String topic) throws Exception {
        List<MessageExt> messages = all(env, topic);
        Env.check(!messages.isEmpty(), "no message in " + topic);
        return messages.get(0);
    }
}
