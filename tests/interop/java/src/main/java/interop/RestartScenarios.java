package interop;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;

/** What outlives a restart of the server, and clients that live through one. */
final class RestartScenarios {
    static void add(Suite suite) {
        suite.addAlone("restart.keeps", RestartScenarios::keeps);
        suite.addAlone("restart.live-clients", RestartScenarios::liveClients);
    }

    private static void keeps(Env env) throws Exception {
        String topic = env.topic("restart-keeps", 3);
        DefaultMQProducer producer = env.producer(topic);
        new Received(env, topic, "*").expect(Env.sendMany(producer, topic, "T", "first", 20));
        List<String> unread = Env.sendMany(producer, topic, "T", "unread", 10);
        Message keyed = Env.message(topic, "T", "keyed");
        keyed.setKeys("restart-key");
        SendResult last = Env.sent(producer.send(keyed));
        Message delayed = Env.message(topic, "T", "delayed");
        delayed.setDelayTimeLevel(3);
        Env.sent(producer.send(delayed));
        producer.shutdown();
        long begin = System.currentTimeMillis() - 60_000;
        Env.await("the index", 5_000, () -> !env.admin.queryMessage(topic, "restart-key", 1, begin, begin + 120_000).getMessageList().isEmpty());

        Suite.restartServer();

        Env.await("the route of " + topic, 10_000, () -> env.routeExists(topic));
        Env.equal("queues", 3, env.queues(topic).size());
        long total = 0;
        for (MessageQueue queue : env.queues(topic)) {
            total += env.admin.maxOffset(queue);
        }
        // The delayed one may have come meanwhile.
        Env.check(total == 31 || total == 32, "messages: 31 or 32 expected, got " + total);
        ConsumeStats stats = env.admin.examineConsumeStats("C-" + topic, topic);
        Env.check(stats.computeTotalDiff() == 11 || stats.computeTotalDiff() == 12, "lag: 11 or 12 expected, got " + stats.computeTotalDiff());
        Env.equal("body by offset id", "keyed", Env.body(env.admin.viewMessage(topic, last.getOffsetMsgId())));
        Env.equal("by key", 1, env.admin.queryMessage(topic, "restart-key", 5, begin, begin + 120_000).getMessageList().size());
        List<String> expected = new ArrayList<>(unread);
        expected.add("keyed");
        // Sent with level 3, 10 s: it comes though the server was away in between.
        expected.add("delayed");
        new Received(env, topic, "*").expect(expected);
    }

    /** A producer and a parked consumer go on by themselves. */
    private static void liveClients(Env env) throws Exception {
        String topic = env.topic("restart-live", 2);
        DefaultMQProducer producer = env.producer(topic);
        Received received = new Received(env, topic, "*");
        Env.sendMany(producer, topic, "T", "before", 5);
        Env.awaitSize("messages before", received.messages, 5, 10_000);
        Suite.restartServer();
        Env.await("a send to succeed", 30_000, () -> {
            try {
                Env.sendMany(producer, topic, "T", "after", 1);
                return true;
            } catch (Exception notYet) {
                return false;
            }
        });
        Env.await("the consumer to go on", 40_000, () -> received.bodies().contains("after0"));
        received.stop();
        producer.shutdown();
    }
}
