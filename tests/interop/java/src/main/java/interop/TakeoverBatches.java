package interop;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * A topic whose batches stay one record, over a change of servers: each goes on with the other's queue. A group gets each message
 * once, and one that reads from the beginning gets all, at the same offsets as ever.
 */
final class TakeoverBatches {
    private static final String TOPIC = "takeover-batches";
    private static final int BATCHES = 12;

    private final List<String> all = new ArrayList<>();
    private List<String> unread = List.of();

    static void create(Env env) throws Exception {
        env.topicWith(TOPIC, "+queue.type", "BatchCQ");
    }

    /** Consumes what the server before left, and some of this one's. */
    void consume(Env env, DefaultMQProducer producer, String name) throws Exception {
        Env.equal("end of the batches", (long) all.size(), env.admin.maxOffset(new MessageQueue(TOPIC, env.brokerName, 0)));
        Received group = new Received(env, TOPIC, "*");
        List<String> expected = new ArrayList<>(unread);
        expected.addAll(send(producer, name + "read-"));
        group.expect(expected);
        Received everything = new Received(env.pushConsumer("C-" + TOPIC + "-" + name), TOPIC, "*");
        for (MessageExt message : everything.expect(all)) {
            Env.equal("offset of " + Env.body(message), (long) all.indexOf(Env.body(message)), message.getQueueOffset());
        }
    }

    /** Leaves batches that nobody has read. */
    void leave(DefaultMQProducer producer, String name) throws Exception {
        unread = send(producer, name + "unread-");
    }

    private List<String> send(DefaultMQProducer producer, String prefix) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (int batch = 0; batch < BATCHES; batch++) {
            List<Message> messages = new ArrayList<>();
            for (int i = 0; i <= batch % 4; i++) {
                bodies.add(prefix + batch + "-" + i);
                messages.add(Env.message(TOPIC, "T", prefix + batch + "-" + i));
            }
            Env.sent(producer.send(messages));
        }
        all.addAll(bodies);
        return bodies;
    }
}
