package interop;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/** Consumers that come and go. */
final class RebalanceScenarios {
    /** From a join or a leave until every queue has its new owner. */
    private static final long REBALANCE_MS = 2_000;

    static void add(Suite suite) {
        suite.addAlone("rebalance.join-and-leave", RebalanceScenarios::joinAndLeave);
        suite.add("rebalance.more-consumers-than-queues", RebalanceScenarios::spare);
    }

    /** Under load: nothing is lost, and queues move within the time. */
    private static void joinAndLeave(Env env) throws Exception {
        String topic = env.topic("rebalance", 8);
        DefaultMQProducer producer = env.producer(topic);
        List<String> sent = new ArrayList<>();
        AtomicBoolean stop = new AtomicBoolean();
        Thread load = new Thread(() -> {
            try {
                while (!stop.get()) {
                    sent.add("r" + sent.size());
                    Env.sent(producer.send(Env.message(topic, "T", sent.get(sent.size() - 1))));
                    Thread.sleep(2);
                }
            } catch (Exception e) {
                throw new IllegalStateException("sending failed under load", e);
            }
        });
        AtomicBoolean failed = new AtomicBoolean();
        load.setUncaughtExceptionHandler((thread, e) -> {
            e.printStackTrace();
            failed.set(true);
        });
        Received one = new Received(env, topic, "*");
        Env.await("the first consumer to own all", 5_000, () -> one.queueCount() == 8);
        load.start();
        List<Received> members = new ArrayList<>(List.of(one));
        for (int round = 0; round < 3; round++) {
            Thread.sleep(500);
            Received joined = new Received(env, topic, "*");
            members.add(joined);
            Env.await("four queues each after a join", REBALANCE_MS, () -> one.queueCount() == 4 && joined.queueCount() == 4);
            Thread.sleep(500);
            joined.stop();
            Env.await("all queues back after a leave", REBALANCE_MS, () -> one.queueCount() == 8);
        }
        stop.set(true);
        load.join();
        Env.check(!failed.get(), "sending failed under load");
        Received.awaitAll(members, sent, 15_000);
        one.stop();
        producer.shutdown();
    }

    private static void spare(Env env) throws Exception {
        String topic = env.topic("rebalance-spare", 1);
        DefaultMQProducer producer = env.producer(topic);
        Received one = new Received(env, topic, "*");
        Received two = new Received(env, topic, "*");
        Env.await("one owner", 5_000, () -> one.queueCount() + two.queueCount() == 1);
        Received owner = one.queueCount() == 1 ? one : two;
        Received other = owner == one ? two : one;
        List<String> before = Env.sendMany(producer, topic, "T", "before", 5);
        owner.expect(before);
        Env.await("the spare consumer to take over", REBALANCE_MS, () -> other.queueCount() == 1);
        List<String> after = Env.sendMany(producer, topic, "T", "after", 5);
        other.expect(after);
        producer.shutdown();
    }
}
