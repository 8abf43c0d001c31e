package interop;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/** mqadmin: topics and routes. */
final class AdminTopicScenarios {
    static void add(Suite suite) {
        suite.add("admin.topic-life", AdminTopicScenarios::life);
        suite.add("admin.topicStatus", AdminTopicScenarios::status);
        suite.add("admin.updateOrderConf", AdminTopicScenarios::orderConf);
        suite.add("admin.allocateMQ", AdminTopicScenarios::allocate);
        suite.add("admin.statsAll", AdminTopicScenarios::statsAll);
        suite.add("admin.cleanUnusedTopic", AdminTopicScenarios::clean);
    }

    /** updateTopic, topicList, topicRoute, topicClusterList, updateTopicPerm, deleteTopic. */
    private static void life(Env env) throws Exception {
        String topic = "admin-topic";
        String created = Admin.run(env, "updateTopic", "-c", env.cluster, "-t", topic, "-r", "6", "-w", "5");
        Env.contains("updateTopic", created, "create topic to " + env.broker + " success", "readQueueNums=6", "writeQueueNums=5", "perm=RW-");
        Env.await("the route", 5_000, () -> env.routeExists(topic));
        Env.check(Admin.run(env, "topicList").lines().anyMatch(topic::equals), "topicList lacks the topic");
        Env.contains("topicList -c", Admin.run(env, "topicList", "-c"), env.cluster, topic);
        Env.contains("topicRoute", Admin.run(env, "topicRoute", "-t", topic).replaceAll("\\s", ""),
            "\"brokerName\":\"" + env.brokerName + "\"", "\"cluster\":\"" + env.cluster + "\"", "0:\"" + env.broker + "\"",
            "\"perm\":6", "\"readQueueNums\":6", "\"writeQueueNums\":5");
        Env.equal("topicClusterList", env.cluster, Admin.run(env, "topicClusterList", "-t", topic).trim());

        Admin.run(env, "updateTopic", "-b", env.broker, "-t", topic, "-r", "8", "-w", "8");
        Admin.run(env, "updateTopicPerm", "-b", env.broker, "-t", topic, "-p", "4");
        Env.await("the changed route", 5_000, () -> {
            String route = Admin.run(env, "topicRoute", "-t", topic).replaceAll("\\s", "");
            return route.contains("\"readQueueNums\":8") && route.contains("\"perm\":4");
        });

        Env.contains("deleteTopic", Admin.run(env, "deleteTopic", "-c", env.cluster, "-t", topic),
            "delete topic [" + topic + "] from cluster [" + env.cluster + "] success", "from NameServer success");
        Env.await("the topic to be gone", 5_000, () -> !env.routeExists(topic));
        Env.contains("topicRoute of a deleted topic", Admin.print(env, "topicRoute", "-t", topic), "CODE: 17", topic);
        Env.check(Admin.run(env, "topicList").lines().noneMatch(topic::equals), "topicList still has the topic");
    }

    private static void status(Env env) throws Exception {
        String topic = env.topic("admin-status", 2);
        DefaultMQProducer producer = env.producer(topic);
        Env.sendMany(producer, topic, "T", "s", 10);
        producer.shutdown();
        Env.await("the dispatch", 2_000, () -> Admin.rows(Admin.run(env, "topicStatus", "-t", topic), env.brokerName).stream()
            .mapToLong(row -> Long.parseLong(row[3])).sum() == 10);
        List<String[]> rows = Admin.rows(Admin.run(env, "topicStatus", "-t", topic), env.brokerName);
        Env.equal("queues", List.of("0", "1"), rows.stream().map(row -> row[1]).toList());
        Env.equal("min offsets", List.of("0", "0"), rows.stream().map(row -> row[2]).toList());
        Env.check(rows.stream().allMatch(row -> row[4].matches("\\d{4}-\\d\\d-\\d\\d")), "last updated: " + String.join(" ", rows.get(0)));
    }

    private static void orderConf(Env env) throws Exception {
        String topic = env.topic("admin-order", 4);
        String conf = env.brokerName + ":4";
        Env.contains("put", Admin.run(env, "updateOrderConf", "-t", topic, "-m", "put", "-v", conf), "success", conf);
        Env.contains("get", Admin.run(env, "updateOrderConf", "-t", topic, "-m", "get"), conf);
        Env.contains("delete", Admin.run(env, "updateOrderConf", "-t", topic, "-m", "delete"), "success");
        Env.check(!Admin.print(env, "updateOrderConf", "-t", topic, "-m", "get").contains(conf), "the order configuration is still there");
    }

    private static void allocate(Env env) throws Exception {
        String topic = env.topic("admin-allocate", 4);
        String result = Admin.run(env, "allocateMQ", "-t", topic, "-i", "192.0.2.1,192.0.2.2");
        Env.contains("allocateMQ", result, "\"192.0.2.1\":[", "\"192.0.2.2\":[");
        List<String> queues = new ArrayList<>();
        java.util.regex.Matcher matcher = java.util.regex.Pattern.compile("\"queueId\":(\\d)").matcher(result);
        while (matcher.find()) {
            queues.add(matcher.group(1));
        }
        Env.sameElements("queues", List.of("0", "1", "2", "3"), queues);
    }

    private static void statsAll(Env env) throws Exception {
        String topic = env.topic("admin-stats", 1);
        DefaultMQProducer producer = env.producer(topic);
        new Received(env, topic, "*").expect(Env.sendMany(producer, topic, "T", "s", 5));
        Env.sendMany(producer, topic, "T", "unread", 3);
        producer.shutdown();
        // The lag is 3 once the stopped consumer's offsets have arrived.
        String[] table = new String[1];
        try {
            Env.await("the row with the group's lag", 15_000, () -> {
                table[0] = Admin.run(env, "statsAll", "-t", topic);
                return Admin.rows(table[0], topic).stream().anyMatch(row -> row[1].equals("C-" + topic) && row[2].equals("3"));
            });
        } catch (AssertionError e) {
            throw new AssertionError(e.getMessage() + ": " + table[0]);
        }
    }

    private static void clean(Env env) throws Exception {
        String topic = env.topic("admin-clean", 1);
        DefaultMQProducer producer = env.producer(topic);
        Env.sendMany(producer, topic, "T", "s", 5);
        producer.shutdown();
        Env.contains("cleanUnusedTopic", Admin.run(env, "cleanUnusedTopic", "-b", env.broker), "success");
        Env.contains("cleanExpiredCQ", Admin.run(env, "cleanExpiredCQ", "-b", env.broker), "success");
        Env.equal("messages of a topic in use", 5, Pulled.all(env, topic).size());
    }
}
