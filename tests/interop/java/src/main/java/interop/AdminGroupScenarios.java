package interop;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/** mqadmin: groups, their members and their offsets. */
final class AdminGroupScenarios {
    static void add(Suite suite) {
        suite.add("admin.group-life", AdminGroupScenarios::life);
        suite.add("admin.connections", AdminGroupScenarios::connections);
        suite.add("admin.consumerProgress", AdminGroupScenarios::progress);
        suite.add("admin.resetOffsetByTime", AdminGroupScenarios::reset);
        suite.add("admin.reset-while-online", AdminGroupScenarios::resetOnline);
        suite.add("admin.reset-forward-while-online", AdminGroupScenarios::resetForwardOnline);
        suite.add("admin.skipAccumulatedMessage", AdminGroupScenarios::skip);
        suite.add("admin.cloneGroupOffset", AdminGroupScenarios::cloneOffsets);
    }

    /** updateSubGroup, getConsumerConfig, deleteSubGroup. */
    private static void life(Env env) throws Exception {
        String group = "admin-group";
        Env.contains("updateSubGroup", Admin.run(env, "updateSubGroup", "-c", env.cluster, "-g", group, "-r", "5", "-q", "2"),
            "create subscription group to " + env.broker + " success", "retryMaxTimes=5", "retryQueueNums=2");
        Env.equal("retry limit", 5, env.admin.examineSubscriptionGroupConfig(env.broker, group).getRetryMaxTimes());
        Env.contains("getConsumerConfig", Admin.run(env, "getConsumerConfig", "-g", group).replaceAll("\\s+", " "),
            "retryMaxTimes = 5", "retryQueueNums = 2");
        Env.contains("deleteSubGroup", Admin.run(env, "deleteSubGroup", "-c", env.cluster, "-g", group, "-r", "true"),
            "delete subscription group [" + group + "] from broker [" + env.broker + "] in cluster [" + env.cluster + "] success");
        Env.check(!env.admin.getAllSubscriptionGroup(env.broker, 3_000).getSubscriptionGroupTable().containsKey(group), "the group is still there");
    }

    /** consumerConnection, producerConnection, producer, consumerStatus. */
    private static void connections(Env env) throws Exception {
        String topic = env.topic("admin-connections", 2);
        DefaultMQProducer producer = env.producer(topic);
        Received consumer = new Received(env, topic, "A || B");
        List<String> bodies = Env.sendMany(producer, topic, "A", "c", 4);
        Env.awaitSize("messages", consumer.messages, bodies.size(), 10_000);
        String group = "C-" + topic;
        Env.await("the route of the retry topic", 5_000, () -> env.routeExists("%RETRY%" + group));
        String clientId = consumer.consumer.buildMQClientId();
        Env.contains("consumerConnection", Admin.run(env, "consumerConnection", "-g", group), clientId, "127.0.0.1:", "JAVA", "V5_5_0",
            "A || B", "%RETRY%" + group, "CONSUME_PASSIVELY", "CLUSTERING", "CONSUME_FROM_FIRST_OFFSET");
        Env.contains("producerConnection", Admin.run(env, "producerConnection", "-g", "P-" + topic, "-t", topic),
            producer.buildMQClientId(), "127.0.0.1:", "JAVA", "V5_5_0");
        Env.contains("producer", Admin.run(env, "producer", "-b", env.broker), "P-" + topic, producer.buildMQClientId());
        // Asks the client itself, through the broker.
        Env.contains("consumerStatus", Admin.run(env, "consumerStatus", "-g", group), clientId, "V5_5_0", "Rebalance OK");
        Env.contains("consumerStatus -i", Admin.run(env, "consumerStatus", "-g", group, "-i", clientId), "#Consumer Subscription#", topic, "A || B");
        consumer.stop();
        producer.shutdown();
        Env.await("both to be gone", 5_000, () -> !Admin.print(env, "producer", "-b", env.broker).contains("P-" + topic)
            && Admin.print(env, "consumerConnection", "-g", group).contains("CODE: 206"));
    }

    private static void progress(Env env) throws Exception {
        String topic = env.topic("admin-progress", 2);
        DefaultMQProducer producer = env.producer(topic);
        Received consumer = new Received(env, topic, "*");
        consumer.expect(Env.sendMany(producer, topic, "T", "p", 10));
        Env.sendMany(producer, topic, "T", "unread", 4);
        producer.shutdown();
        Env.await("a lag of 4", 5_000, () -> lag(env, topic) == 4);
        String table = Admin.run(env, "consumerProgress", "-g", "C-" + topic);
        List<String[]> rows = Admin.rows(table, topic);
        Env.equal("queues", List.of("0", "1"), rows.stream().map(row -> row[2]).toList());
        Env.equal("broker offsets", 14L, rows.stream().mapToLong(row -> Long.parseLong(row[3])).sum());
        Env.equal("consumer offsets", 10L, rows.stream().mapToLong(row -> Long.parseLong(row[4])).sum());
        Env.contains("total", table, "Consume TPS:", "Diff Total: 4");
        List<String[]> all = Admin.rows(Admin.run(env, "consumerProgress"), "C-" + topic);
        Env.equal("rows of the group in the list", 1, all.size());
        Env.equal("its members and state", "0 OFFLINE", all.get(0)[1] + " " + all.get(0)[2]);
        Env.equal("its lag", "4", all.get(0)[all.get(0).length - 1]);
    }

    static long lag(Env env, String topic) {
        return Admin.rows(Admin.run(env, "consumerProgress", "-g", "C-" + topic), topic).stream().mapToLong(row -> Long.parseLong(row[5])).sum();
    }

    /** A topic with ten consumed messages; returns the time after the first five. */
    private static long consumed(Env env, String topic) throws Exception {
        env.topic(topic, 1);
        DefaultMQProducer producer = env.producer(topic);
        Env.sendMany(producer, topic, "T", "early", 5);
        Thread.sleep(50);
        long middle = System.currentTimeMillis();
        Thread.sleep(50);
        Env.sendMany(producer, topic, "T", "late", 5);
        producer.shutdown();
        Received consumer = new Received(env, topic, "*");
        Env.awaitSize("messages", consumer.messages, 10, 15_000);
        consumer.stop();
        Env.await("no lag", 10_000, () -> lag(env, topic) == 0);
        return middle;
    }

    private static void reset(Env env) throws Exception {
        String topic = "admin-reset";
        long middle = consumed(env, topic);
        List<String[]> rows = Admin.rows(
            Admin.run(env, "resetOffsetByTime", "-g", "C-" + topic, "-t", topic, "-s", String.valueOf(middle)), env.brokerName);
        Env.equal("offset after the reset", "5", rows.get(0)[2]);
        Env.equal("lag", 5L, lag(env, topic));
        new Received(env, topic, "*").expect(List.of("late0", "late1", "late2", "late3", "late4"));
    }

    /** A consumer that is online reads again from the new offset without a restart, at the latest when its parked pull ends. */
    private static void resetOnline(Env env) throws Exception {
        String topic = env.topic("admin-reset-online", 1);
        DefaultMQProducer producer = env.producer(topic);
        Received consumer = new Received(env, topic, "*");
        Env.sendMany(producer, topic, "T", "again", 5);
        Env.awaitSize("messages", consumer.messages, 5, 15_000);
        // A client commits for the first time 10 s after its start.
        Env.await("the committed offset", 20_000, () -> lag(env, topic) == 0);
        Env.contains("resetOffsetByTime", Admin.run(env, "resetOffsetByTime", "-g", "C-" + topic, "-t", topic, "-s", "0"), env.brokerName);
        Env.awaitSize("messages again", consumer.messages, 10, 60_000);
        consumer.stop();
        producer.shutdown();
    }

    /** A consumer that is online leaves out what lies before the new offset, and consumes all that follows, once. */
    private static void resetForwardOnline(Env env) throws Exception {
        String topic = env.topic("admin-reset-forward", 1);
        DefaultMQProducer producer = env.producer(topic);
        Env.sendMany(producer, topic, "T", "early", 60);
        Thread.sleep(50);
        long middle = System.currentTimeMillis();
        Thread.sleep(50);
        List<String> late = Env.sendMany(producer, topic, "T", "late", 5);
        DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
        // One at a time, and no more than these few ahead.
        consumer.setConsumeThreadMin(1);
        consumer.setConsumeThreadMax(1);
        consumer.setPullBatchSize(1);
        consumer.setPullThresholdForQueue(4);
        consumer.subscribe(topic, "*");
        List<String> consumed = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch reset = new CountDownLatch(1);
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            batch.forEach(message -> consumed.add(Env.body(message)));
            try {
                reset.await();
            } catch (InterruptedException e) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Env.awaitSize("messages", consumed, 1, 15_000);
        Env.equal("offset after the reset", "60", Admin.rows(
            Admin.run(env, "resetOffsetByTime", "-g", "C-" + topic, "-t", topic, "-s", String.valueOf(middle)), env.brokerName).get(0)[2]);
        reset.countDown();
        Env.await("the late messages", 60_000, () -> consumed.containsAll(late));
        Env.await("no lag", 20_000, () -> lag(env, topic) == 0);
        List<String> before = consumed.stream().filter(body -> body.startsWith("early")).toList();
        Env.check(before.size() <= 10, "not skipped: " + before);
        Env.distinct("what was consumed", consumed);
        consumer.shutdown();
        producer.shutdown();
    }

    private static void skip(Env env) throws Exception {
        String topic = "admin-skip";
        consumed(env, topic);
        DefaultMQProducer producer = env.producer(topic);
        Env.sendMany(producer, topic, "T", "skipped", 7);
        Env.await("a lag of 7", 5_000, () -> lag(env, topic) == 7);
        List<String[]> rows = Admin.rows(Admin.run(env, "skipAccumulatedMessage", "-g", "C-" + topic, "-t", topic, "-f", "true"), env.brokerName);
        Env.equal("offset after skipping", "17", rows.get(0)[2]);
        Env.equal("lag", 0L, lag(env, topic));
        Received consumer = new Received(env, topic, "*");
        Thread.sleep(500);
        consumer.expect(Env.sendMany(producer, topic, "T", "new", 1));
        producer.shutdown();
    }

    private static void cloneOffsets(Env env) throws Exception {
        String topic = "admin-clone";
        consumed(env, topic);
        Admin.run(env, "updateSubGroup", "-c", env.cluster, "-g", "C-clone-target");
        // The command looks the target up by its retry topic.
        Received target = new Received(env.pushConsumer("C-clone-target"), topic, "NONE");
        Env.await("the retry topic of the target", 5_000, () -> env.routeExists("%RETRY%C-clone-target"));
        target.stop();
        Env.contains("cloneGroupOffset",
            Admin.run(env, "cloneGroupOffset", "-s", "C-" + topic, "-d", "C-clone-target", "-t", topic, "-o", "true"), "clone group offset success");
        List<String[]> rows = Admin.rows(Admin.run(env, "consumerProgress", "-g", "C-clone-target"), topic);
        Env.equal("cloned offset", "10", rows.get(0)[4]);
    }
}
