package interop;

import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/**
 * One data folder, served by one server after the other: NAMESRV BROKER SWITCH... Each SWITCH is such as 'apogee:kill' (the
 * server that runs is killed, then apogee starts) or 'apache:stop'. Before each, every kind of message is left in flight;
 * after it, each must arrive once, and nothing that was consumed may come again.
 */
public final class Takeover {
    private static final String TOPIC = "takeover";
    private static final String RETRIED = "takeover-retried";
    private static final String GROUP = "C-" + TOPIC;
    private static final int QUEUES = 3;
    private static final int RETRIES = 7;
    /** Level 3 is 10 s: longer than either server takes to start. */
    private static final int LEVEL = 3;
    private static final int LATE_MS = 12_000;
    /** Apache's broker saves the offsets of delay levels every 10 s; a kill takes it back to them. */
    private static final int SAVED_MS = 11_000;

    private final String namesrv;
    private final String broker;
    private final List<String> all = new ArrayList<>();
    private final Queue<String> retried = new ConcurrentLinkedQueue<>();
    private final TakeoverPop popped = new TakeoverPop();
    private final TakeoverBatches batches = new TakeoverBatches();
    private final TakeoverCompaction compacted = new TakeoverCompaction();
    private List<String> inFlight = List.of();
    private Message keyed;
    private SendResult keyedAt;

    private Takeover(String namesrv, String broker) {
        this.namesrv = namesrv;
        this.broker = broker;
    }

    public static void main(String[] args) {
        int exit = 1;
        try {
            Takeover takeover = new Takeover(args[0], args[1]);
            for (int stage = 0; stage < args.length - 1; stage++) {
                String next = stage + 2 < args.length ? args[stage + 2] : null;
                takeover.run(stage, next);
            }
            exit = 0;
        } catch (Throwable e) {
            e.printStackTrace();
        }
        System.exit(exit);
    }

    private void run(int stage, String next) throws Exception {
        Suite.report("takeover." + stage, () -> stage(stage, next));
        if (next != null) {
            Suite.switchServer(next);
        }
    }

    private void stage(int stage, String next) throws Exception {
        String name = "stage" + stage + "-";
        try (Env env = new Env(namesrv, broker);
             TransactionScenarios.Producer transactions = new TransactionScenarios.Producer(env, TOPIC, Takeover::decide,
                 // What this stage leaves undecided is for the next one.
                 message -> Env.body(message).startsWith(name) ? LocalTransactionState.UNKNOW : LocalTransactionState.COMMIT_MESSAGE)) {
            // Off by default with Apache's broker.
            Properties on = new Properties();
            on.setProperty("recallMessageEnable", "true");
            env.admin.updateBrokerConfig(env.broker, on);
            if (stage == 0) {
                create(env);
            } else {
                kept(env);
            }
            // In another group than the one that is asked about transactions.
            DefaultMQProducer producer = env.producer(TOPIC + "-plain");
            Received received = new Received(env, TOPIC, "*");
            DefaultMQPushConsumer retrying = failsAtFirst(env);
            List<String> expected = new ArrayList<>(inFlight);
            // A producer makes itself known to a broker with the first message that it sends there.
            transactions.send(Env.message(TOPIC, "A", name + "commit"));
            expected.add(name + "commit");
            Env.awaitSize("messages of the stage before", received.messages, expected.size(), 40_000);
            expected.addAll(Env.sendMany(producer, TOPIC, "A", name + "read", 5));
            expected.add(sendDelayed(producer, name + "level", 1));
            expected.add(sendTimed(producer, name + "timed", 1_500));
            transactions.send(Env.message(TOPIC, "A", name + "rollback"));
            Env.awaitSize("messages", received.messages, expected.size(), 15_000);
            Env.awaitSize("retries", retried, 2 * stage, 40_000);
            if (stage > 0) {
                popped.consume(env);
                compacted.check(env);
            }
            batches.consume(env, producer, name);
            compacted.leave(env, producer, name);
            // What came once must not come again.
            Thread.sleep(3_000);
            received.stop();
            Env.sameElements("bodies", expected, received.bodies());
            all.addAll(expected.subList(inFlight.size(), expected.size()));
            if (next != null) {
                popped.leave(env, producer, name, next.endsWith(":kill"));
                Thread.sleep(next.endsWith(":kill") ? SAVED_MS : 0);
                popped.leaveAtLast(env, next.endsWith(":kill"));
                batches.leave(producer, name);
                leave(producer, transactions, name);
            }
            producer.shutdown();
            retrying.shutdown();
            long stored = env.queues(TOPIC).stream().mapToLong(queue -> offset(env, queue)).sum();
            Env.check(next != null || stored == all.size(), "messages stored: " + stored + ", sent: " + all.size());
        }
    }

    private static void create(Env env) throws Exception {
        env.topic(TOPIC, QUEUES);
        env.topic(RETRIED, 1);
        TakeoverPop.create(env);
        TakeoverBatches.create(env);
        TakeoverCompaction.create(env);
        SubscriptionGroupConfig group = new SubscriptionGroupConfig();
        group.setGroupName(GROUP);
        group.setRetryMaxTimes(RETRIES);
        env.admin.createAndUpdateSubscriptionGroupConfig(env.broker, group);
    }

    /** What administrators and consumers left is there. */
    private void kept(Env env) throws Exception {
        Env.await("the route", 10_000, () -> env.routeExists(TOPIC));
        TopicConfig topic = env.admin.examineTopicConfig(env.broker, TOPIC);
        Env.equal("queues", QUEUES, topic.getReadQueueNums());
        Env.equal("retries", RETRIES, env.admin.examineSubscriptionGroupConfig(env.broker, GROUP).getRetryMaxTimes());
        ConsumeStats stats = env.admin.examineConsumeStats(GROUP, TOPIC);
        // Those that wait are not in the topic yet, but for one whose time has come.
        Env.check(stats.computeTotalDiff() >= 6 && stats.computeTotalDiff() <= inFlight.size(), "lag: " + stats.computeTotalDiff());
        long now = System.currentTimeMillis();
        Env.equal("by key", 1, env.admin.queryMessage(TOPIC, keyed.getKeys(), 5, now - 600_000, now).getMessageList().size());
        Env.equal("by offset id", new String(keyed.getBody()), Env.body(env.admin.viewMessage(TOPIC, keyedAt.getOffsetMsgId())));
    }

    private void leave(DefaultMQProducer producer, TransactionScenarios.Producer transactions, String name) throws Exception {
        int failed = retried.size() + 1;
        Env.sent(producer.send(Env.message(RETRIED, "A", name + "failed")));
        Env.awaitSize("the failure", retried, failed, 15_000);
        List<String> left = new ArrayList<>(Env.sendMany(producer, TOPIC, "A", name + "unread", 5));
        keyed = Env.message(TOPIC, "B", name + "keyed");
        keyed.setKeys(name + "key");
        keyedAt = Env.sent(producer.send(keyed));
        left.add(name + "keyed");
        left.add(sendDelayed(producer, name + "level-late", LEVEL));
        left.add(sendTimed(producer, name + "timed-late", LATE_MS));
        Message recalled = Env.message(TOPIC, "A", name + "recalled");
        recalled.setDelayTimeMs(LATE_MS);
        producer.recallMessage(TOPIC, Env.sent(producer.send(recalled)).getRecallHandle());
        transactions.send(Env.message(TOPIC, "A", name + "undecided"));
        left.add(name + "undecided");
        inFlight = left;
        all.addAll(left);
    }

    private static LocalTransactionState decide(Message message) {
        String body = new String(message.getBody());
        return body.endsWith("commit") ? LocalTransactionState.COMMIT_MESSAGE
            : body.endsWith("rollback") ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.UNKNOW;
    }

    private static String sendDelayed(DefaultMQProducer producer, String body, int level) throws Exception {
        Message message = Env.message(TOPIC, "A", body);
        message.setDelayTimeLevel(level);
        Env.sent(producer.send(message));
        return body;
    }

    private static String sendTimed(DefaultMQProducer producer, String body, int delayMs) throws Exception {
        Message message = Env.message(TOPIC, "A", body);
        message.setDelayTimeMs(delayMs);
        Env.sent(producer.send(message));
        return body;
    }

    private DefaultMQPushConsumer failsAtFirst(Env env) throws Exception {
        DefaultMQPushConsumer consumer = env.pushConsumer("C-" + RETRIED);
        consumer.subscribe(RETRIED, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            context.setDelayLevelWhenNextConsume(LEVEL);
            boolean again = batch.get(0).getReconsumeTimes() > 0;
            retried.add(Env.body(batch.get(0)));
            return again ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        return consumer;
    }

    private static long offset(Env env, MessageQueue queue) {
        try {
            return env.admin.maxOffset(queue);
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }
}
