package interop;

import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** Push consumers that leave it to the broker who reads what, in groups that pop. */
final class PopScenarios {
    /** A member asks which queues to read when it is told that its group changed, and each 20 s. */
    private static final long REBALANCE_MS = 30_000;

    static void add(Suite suite) {
        suite.add("pop.members-share-one-queue", PopScenarios::membersShareOneQueue);
        suite.add("pop.fails-and-comes-again", PopScenarios::failsAndComesAgain);
        suite.add("pop.not-done-in-time", PopScenarios::notDoneInTime);
        suite.add("pop.assigned-pulls", PopScenarios::assignedPulls);
        suite.add("pop.failed-before-a-switch", PopScenarios::failedBeforeASwitch);
        suite.add("pop.switch-under-load", PopScenarios::switchUnderLoad);
    }

    private static String group(Env env, String topic) throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName("C-" + topic);
        env.admin.createAndUpdateSubscriptionGroupConfig(env.broker, config);
        return config.getGroupName();
    }

    /** This command of mqadmin cannot run twice at once. */
    private static synchronized void setMode(Env env, String topic, String mode) {
        String printed = Admin.run(env, "setConsumeMode", "-b", env.broker, "-t", topic, "-g", "C-" + topic, "-m", mode, "-q", "0");
        Env.check(printed.contains("success"), printed);
    }

    private static DefaultMQPushConsumer consumer(Env env, String topic) {
        DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
        consumer.setClientRebalance(false);
        return consumer;
    }

    /** Whether the member pops the topic, and pulls no queue of it. */
    private static boolean pops(Received member, String topic) {
        return member.queueCount() == 0 && member.consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getPopProcessQueueTable()
            .keySet().stream().anyMatch(queue -> queue.getTopic().equals(topic));
    }

    private static void awaitAllSettled(Env env, String topic) throws Exception {
        Env.await("all to be acknowledged", 20_000, () -> env.admin.examineConsumeStats("C-" + topic, topic).computeTotalDiff() == 0);
    }

    private static void membersShareOneQueue(Env env) throws Exception {
        String topic = env.topic("pop-share", 1);
        group(env, topic);
        setMode(env, topic, "POP");
        List<Received> members = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            members.add(new Received(consumer(env, topic), topic, "*"));
        }
        for (Received member : members) {
            Env.await("each to pop", REBALANCE_MS, () -> pops(member, topic));
        }
        DefaultMQProducer producer = env.producer(topic);
        List<String> sent = Env.sendMany(producer, topic, "T", "m", 300);
        Env.await("all messages", 20_000, () -> members.stream().mapToInt(member -> member.messages.size()).sum() >= sent.size());
        List<String> got = members.stream().flatMap(member -> member.bodies().stream()).collect(Collectors.toList());
        Env.sameElements("bodies", sent, got);
        Env.check(members.stream().allMatch(member -> !member.messages.isEmpty()), "a member got nothing");
        awaitAllSettled(env, topic);
        members.forEach(Received::stop);
        producer.shutdown();
    }

    private static void failsAndComesAgain(Env env) throws Exception {
        String topic = env.topic("pop-retry", 1);
        DefaultMQPushConsumer consumer = env.pushConsumer(group(env, topic));
        consumer.setClientRebalance(false);
        setMode(env, topic, "POP");
        record Try(MessageExt message, long at) { }
        Queue<Try> tries = new ConcurrentLinkedQueue<>();
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            tries.add(new Try(batch.get(0), System.currentTimeMillis()));
            return batch.get(0).getReconsumeTimes() > 0 ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        DefaultMQProducer producer = env.producer(topic);
        String id = Env.sent(producer.send(Env.message(topic, "T", "again"))).getMsgId();
        Env.awaitSize("tries", tries, 2, 30_000);
        List<Try> all = List.copyOf(tries);
        Env.equal("reconsume times", List.of(0, 1), all.stream().map(one -> one.message.getReconsumeTimes()).toList());
        for (Try one : all) {
            Env.equal("body", "again", Env.body(one.message));
            Env.equal("topic that the listener sees", topic, one.message.getTopic());
            Env.equal("unique id", id, one.message.getMsgId());
        }
        // What the client asks for after a first failure.
        long waited = all.get(1).at - all.get(0).at;
        Env.check(waited >= 9_900 && waited < 15_000, "came again after " + waited + " ms");
        awaitAllSettled(env, topic);
        Env.equal("tries", 2, tries.size());
        consumer.shutdown();
        producer.shutdown();
    }

    /** The member that holds a message for too long loses it to another. */
    private static void notDoneInTime(Env env) throws Exception {
        String topic = env.topic("pop-slow", 1);
        group(env, topic);
        setMode(env, topic, "POP");
        AtomicBoolean done = new AtomicBoolean();
        AtomicReference<Integer> again = new AtomicReference<>();
        List<DefaultMQPushConsumer> members = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer consumer = consumer(env, topic);
            // The least that the client takes.
            consumer.setPopInvisibleTime(5_000);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
                if (batch.get(0).getReconsumeTimes() > 0) {
                    again.set(batch.get(0).getReconsumeTimes());
                } else {
                    try {
                        Env.await("somebody else to have it", 20_000, () -> again.get() != null);
                        done.set(true);
                    } catch (Exception e) {
                        return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                    }
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            members.add(consumer);
        }
        DefaultMQProducer producer = env.producer(topic);
        Env.sent(producer.send(Env.message(topic, "T", "slow")));
        Env.await("both to have had it", REBALANCE_MS, done::get);
        Env.equal("reconsume times", 1, again.get());
        awaitAllSettled(env, topic);
        members.forEach(DefaultMQPushConsumer::shutdown);
        producer.shutdown();
    }

    /** The broker shares the queues as the members would. */
    private static void assignedPulls(Env env) throws Exception {
        String topic = env.topic("pop-assigned", 8);
        group(env, topic);
        List<Received> members = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            members.add(new Received(consumer(env, topic), topic, "*"));
        }
        Env.await("each to have its part", REBALANCE_MS,
            () -> members.stream().map(Received::queueCount).sorted().toList().equals(List.of(2, 3, 3)));
        DefaultMQProducer producer = env.producer(topic);
        List<String> sent = Env.sendMany(producer, topic, "T", "m", 80);
        Env.await("all messages", 20_000, () -> members.stream().mapToInt(member -> member.messages.size()).sum() >= sent.size());
        Env.sameElements("bodies", sent, members.stream().flatMap(member -> member.bodies().stream()).toList());
        Env.check(members.stream().allMatch(member -> !member.messages.isEmpty()), "a member got nothing");
        members.get(0).stop();
        Env.await("the others to share them", REBALANCE_MS,
            () -> members.get(1).queueCount() == 4 && members.get(2).queueCount() == 4);
        members.forEach(Received::stop);
        producer.shutdown();
    }

    /** A message that failed while the group popped comes again once it pulls, from the topic in which it waits. */
    private static void failedBeforeASwitch(Env env) throws Exception {
        String topic = env.topic("pop-failed", 1);
        group(env, topic);
        setMode(env, topic, "POP");
        Queue<Integer> tries = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = consumer(env, topic);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            tries.add(batch.get(0).getReconsumeTimes());
            return tries.size() > 1 ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        DefaultMQProducer producer = env.producer(topic);
        Env.sent(producer.send(Env.message(topic, "T", "fails")));
        Env.awaitSize("tries", tries, 1, REBALANCE_MS);
        setMode(env, topic, "PULL");
        // The client learns of that topic and its queue from its rebalances, 20 s apart.
        Env.await("the second try", 75_000, () -> tries.contains(1));
        consumer.shutdown();
        producer.shutdown();
    }

    /** From pulls to pops and back, while messages come: none is lost. */
    private static void switchUnderLoad(Env env) throws Exception {
        String topic = env.topic("pop-switch", 4);
        group(env, topic);
        DefaultMQProducer producer = env.producer(topic);
        producer.setSendMsgTimeout(15_000);
        List<String> sent = new ArrayList<>();
        AtomicBoolean stop = new AtomicBoolean();
        AtomicReference<Throwable> failed = new AtomicReference<>();
        Thread load = new Thread(() -> {
            try {
                while (!stop.get()) {
                    String body = "s" + sent.size();
                    Env.sent(producer.send(Env.message(topic, "T", body)));
                    sent.add(body);
                    Thread.sleep(5);
                }
            } catch (Throwable e) {
                failed.set(e);
            }
        });
        List<Received> members = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            members.add(new Received(consumer(env, topic), topic, "*"));
        }
        Env.await("two queues each", REBALANCE_MS, () -> members.stream().allMatch(member -> member.queueCount() == 2));
        load.start();
        // Members of Apache's broker learn of it when they ask next.
        int rounds = "apache".equals(System.getProperty("interop.server")) ? 1 : 3;
        for (int round = 0; round < rounds; round++) {
            Thread.sleep(1_000);
            setMode(env, topic, "POP");
            Env.await("both to pop", REBALANCE_MS, () -> members.stream().allMatch(member -> pops(member, topic)));
            Thread.sleep(1_000);
            setMode(env, topic, "PULL");
            Env.await("both to pull", REBALANCE_MS, () -> members.stream().allMatch(member -> member.queueCount() == 2));
        }
        Thread.sleep(1_000);
        stop.set(true);
        load.join();
        Env.check(failed.get() == null, "sending failed under load: " + failed.get());
        Received.awaitAll(members, sent, 20_000);
        members.forEach(Received::stop);
        producer.shutdown();
    }
}
