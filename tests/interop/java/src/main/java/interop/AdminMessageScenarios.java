package interop;

import java.util.List;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/** mqadmin: looking at messages, sending and consuming them. */
final class AdminMessageScenarios {
    static void add(Suite suite) {
        suite.add("admin.queryMsg", AdminMessageScenarios::query);
        suite.add("admin.queryCq", AdminMessageScenarios::queryCq);
        suite.add("admin.printMsg", AdminMessageScenarios::printMsg);
        suite.add("admin.sendMessage", AdminMessageScenarios::send);
        suite.add("admin.consumeMessage", AdminMessageScenarios::consume);
    }

    private static SendResult keyed(Env env, String topic) throws Exception {
        env.topic(topic, 1);
        DefaultMQProducer producer = env.producer(topic);
        Env.sendMany(producer, topic, "first", "before", 3);
        Message message = Env.message(topic, "Blue", "looked up");
        message.setKeys("admin-key");
        message.putUserProperty("colour", "azure");
        SendResult sent = Env.sent(producer.send(message));
        producer.shutdown();
        return sent;
    }

    /** queryMsgById, queryMsgByOffset, queryMsgByKey, queryMsgByUniqueKey. */
    private static void query(Env env) throws Exception {
        String topic = "admin-query";
        SendResult sent = keyed(env, topic);
        for (String[] command : List.of(new String[] {"queryMsgById", "-t", topic, "-i", sent.getOffsetMsgId(), "-f", "UTF-8"},
            new String[] {"queryMsgByOffset", "-t", topic, "-b", env.brokerName, "-i", "0", "-o", "3", "-f", "UTF-8"})) {
            Env.contains(command[0], Admin.run(env, command).replaceAll(" +", " "), "OffsetID: " + sent.getOffsetMsgId(), "Topic: " + topic,
                "Tags: [Blue]", "Keys: [admin-key]", "Queue ID: 0", "Queue Offset: 3", "Reconsume Times: 0", "Store Host: " + env.broker,
                "colour=azure", "looked up");
        }
        Env.await("the index", 5_000, () -> Admin.print(env, "queryMsgByKey", "-t", topic, "-k", "admin-key").contains(sent.getMsgId()));
        List<String[]> rows = Admin.rows(Admin.run(env, "queryMsgByKey", "-t", topic, "-k", "admin-key"), sent.getMsgId());
        Env.equal("queue and offset by key", "0 3", rows.get(0)[1] + " " + rows.get(0)[2]);
        Env.contains("queryMsgByUniqueKey", Admin.run(env, "queryMsgByUniqueKey", "-t", topic, "-i", sent.getMsgId()).replaceAll(" +", " "),
            "Topic: " + topic, "Tags: [Blue]", "Queue Offset: 3", "colour=azure");
    }

    private static void queryCq(Env env) throws Exception {
        String topic = "admin-cq";
        keyed(env, topic);
        String printed = Admin.run(env, "queryCq", "-t", topic, "-q", "0", "-i", "2", "-c", "2", "-b", env.broker);
        Env.contains("queryCq", printed, "max: 4, min: 0", "idx: 2", "idx: 3",
            "tagsCode=" + "first".hashCode(), "tagsCode=" + "Blue".hashCode(), "physicOffset=", "physicSize=");
    }

    /** printMsg, printMsgByQueue. */
    private static void printMsg(Env env) throws Exception {
        String topic = "admin-print";
        SendResult sent = keyed(env, topic);
        String printed = Admin.run(env, "printMsg", "-t", topic, "-d", "true");
        Env.contains("printMsg", printed, "minOffset=0, maxOffset=4", sent.getMsgId(), sent.getOffsetMsgId(), "before0", "before2", "looked up");
        String tagged = Admin.run(env, "printMsg", "-t", topic, "-d", "true", "-s", "Blue");
        Env.check(tagged.contains("looked up") && !tagged.contains("before0"), "printMsg -s Blue: " + tagged);
        Env.contains("printMsgByQueue",
            Admin.run(env, "printMsgByQueue", "-t", topic, "-a", env.brokerName, "-i", "0", "-p", "true", "-d", "true", "-f", "true"),
            "looked up", "first", "Blue");
    }

    private static void send(Env env) throws Exception {
        String topic = env.topic("admin-send", 2);
        List<String[]> rows = Admin.rows(
            Admin.run(env, "sendMessage", "-t", topic, "-p", "by hand", "-k", "hand-key", "-c", "Hand", "-b", env.brokerName, "-i", "1"), env.brokerName);
        Env.equal("queue and result", "1 SEND_OK", rows.get(0)[1] + " " + rows.get(0)[2]);
        var message = Pulled.first(env, topic);
        Env.equal("stored", "by hand hand-key Hand " + rows.get(0)[3],
            Env.body(message) + " " + message.getKeys() + " " + message.getTags() + " " + message.getMsgId());
        Env.contains("checkMsgSendRT", Admin.run(env, "checkMsgSendRT", "-t", topic, "-a", "3", "-s", "32"), "Avg RT:");
        Env.equal("messages", 4, Pulled.all(env, topic).size());
        // A send to the broker's own topic, which every broker has.
        Env.contains("sendMsgStatus", Admin.run(env, "sendMsgStatus", "-b", env.brokerName, "-s", "64", "-c", "2"), "SEND_OK");
    }

    private static void consume(Env env) throws Exception {
        String topic = "admin-consume";
        keyed(env, topic);
        String all = Admin.run(env, "consumeMessage", "-t", topic, "-c", "4");
        Env.contains("consumeMessage", all, "before0", "looked up");
        String from = Admin.run(env, "consumeMessage", "-t", topic, "-b", env.brokerName, "-i", "0", "-o", "3", "-c", "1", "-g", "C-admin-consume");
        Env.check(from.contains("looked up") && !from.contains("before2"), "consumeMessage from offset 3: " + from);
    }
}
