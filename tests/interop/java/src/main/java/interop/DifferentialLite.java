package interop;

import com.alibaba.fastjson2.JSON;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** Lite topics by raw requests, as no client of this protocol has them: what they are answered, good ones and those that cannot be. */
final class DifferentialLite {
    private static final String PARENT = "diff-lite";
    private static final String OTHER = "diff-lite-other";
    private static final String PLAIN = "diff-lite-plain";
    private static final String MORTAL = "diff-lite-mortal";
    private static final String GROUP = "diff-liter";
    private static final String EXCLUSIVE = "diff-liter-exclusive";
    private static final String WILD = "diff-liter-wild";
    private static final String OF_MORTAL = "diff-liter-mortal";
    private static final long LONG_MS = 600_000;
    private static final long SHORT_MS = 1_000;
    /** Apache's tells clients of old messages some seconds after they began to read. */
    private static final long SOON_MS = 12_000;
    /** The least that a lite topic can stay unused is a minute. */
    private static final long EXPIRY_MS = 120_000;

    private final Env env;
    private final DifferentialAnswers answers;
    private final RawPop raw;

    private DifferentialLite(Env env, Path folder) {
        this.env = env;
        answers = new DifferentialAnswers(folder, "lite");
        raw = new RawPop(env, GROUP, PARENT);
    }

    static void record(Env env, Path folder) throws Exception {
        DifferentialLite rows = new DifferentialLite(env, folder);
        rows.state();
        rows.sending();
        rows.subscribing();
        rows.limits();
        rows.popping();
        rows.settling();
        rows.again();
        rows.beginning();
        rows.resets();
        rows.exclusive();
        rows.wild();
        rows.administration();
        rows.expiry();
    }

    private void state() throws Exception {
        for (String parent : List.of(PARENT, OTHER, MORTAL)) {
            TopicConfig topic = new TopicConfig(parent, 1, 1);
            topic.setAttributes(Map.of("+message.type", "LITE", "+lite.topic.expiration", parent.equals(MORTAL) ? "1" : "-1"));
            env.admin.createAndUpdateTopicConfig(env.broker, topic);
        }
        env.topic(PLAIN, 1);
        group(GROUP, PARENT, Map.of());
        group("diff-liter-other", OTHER, Map.of());
        group(OF_MORTAL, MORTAL, Map.of());
        group("diff-liter-nowhere", "diff-nowhere", Map.of());
        group("diff-liter-plain", PLAIN, Map.of());
        group("diff-liter-unbound", null, Map.of());
        group("diff-liter-off", PARENT, Map.of());
        group("diff-liter-quota", PARENT, Map.of("+lite.sub.client.quota", "2"));
        group("diff-liter-resets", PARENT, Map.of("+lite.sub.reset.offset.unsubscribe", "true"));
        group(EXCLUSIVE, PARENT, Map.of("+lite.sub.model", "Exclusive"));
        group("diff-liter-exclusive-resets", PARENT, Map.of("+lite.sub.model", "Exclusive", "+lite.sub.reset.offset.exclusive", "true"));
        group(WILD, PARENT, Map.of("+lite.sub.wildcard", "true"));
        group("diff-liter-events", PARENT, Map.of("+lite.sub.client.max.event.cnt", "10"));
        sent(MORTAL, "m", "m1");
        sent(MORTAL, "m", "m2");
    }

    private void group(String name, String parent, Map<String, String> attributes) throws Exception {
        SubscriptionGroupConfig group = new SubscriptionGroupConfig();
        group.setGroupName(name);
        group.setConsumeEnable(!name.equals("diff-liter-off"));
        Map<String, String> all = new HashMap<>(attributes);
        if (parent != null) {
            all.put("+lite.bind.topic", parent);
        }
        group.setAttributes(all);
        env.admin.createAndUpdateSubscriptionGroupConfig(env.broker, group);
    }

    private RemotingCommand send(String topic, String lite, String body) throws Exception {
        return sendWith(topic, body, lite == null ? "" : DifferentialLight.property("__LITE_TOPIC", lite));
    }

    private void sent(String topic, String lite, String body) throws Exception {
        RemotingCommand answer = send(topic, lite, body);
        Env.check(answer.getCode() == 0, "a message to " + lite + ": " + answer.getCode() + " " + answer.getRemark());
    }

    private RemotingCommand sendWith(String topic, String body, String properties) throws Exception {
        return raw.call(RequestCode.SEND_MESSAGE, body.getBytes(StandardCharsets.UTF_8), "producerGroup", "diff-p", "topic", topic,
            "defaultTopic", "TBW102", "defaultTopicQueueNums", 4, "queueId", 0, "sysFlag", 0, "bornTimestamp", System.currentTimeMillis(),
            "flag", 0, "properties", properties, "reconsumeTimes", 0, "unitMode", false, "batch", false);
    }

    private void sending() throws Exception {
        // No empty name and none with a $: Apache's broker dispatches no message any more after such a one.
        for (String[] one : new String[][] {{"good", PARENT, "s-17"}, {"good-again", PARENT, "s-17"}, {"letters", PARENT, "Aa0%|_-"},
            {"64-letters", PARENT, "x".repeat(64)}, {"to-no-parent", PLAIN, "s-17"}}) {
            answers.write("SEND_MESSAGE", one[0], send(one[1], one[2], one[0]), null);
        }
        String lite = DifferentialLight.property("__LITE_TOPIC", "s-18");
        answers.write("SEND_MESSAGE", "delayed", sendWith(PARENT, "delayed", lite + DifferentialLight.property("DELAY", "5")), null);
        answers.write("SEND_MESSAGE", "timed", sendWith(PARENT, "timed", lite + DifferentialLight.property("TIMER_DELAY_SEC", "100")), null);
        answers.write("SEND_MESSAGE", "half", sendWith(PARENT, "half", lite + DifferentialLight.property("TRAN_MSG", "true")), null);
        answers.write("SEND_MESSAGE", "in-order", sendWith(PARENT, "in-order", lite + DifferentialLight.property("__SHARDINGKEY", "k")), null);
        answers.write("SEND_MESSAGE", "by-priority", sendWith(PARENT, "by-priority", lite + DifferentialLight.property("_SYS_MSG_PRIORITY_", "1")), null);
        answers.write("SEND_MESSAGE", "to-other-light-queues", sendWith(PARENT, "dispatch", DifferentialLight.property("__LITE_TOPIC", "s-20") + DifferentialLight.property("INNER_MULTI_DISPATCH", "%LMQ%diff-x")), null);
        for (String[] one : new String[][] {{"unnamed", null}, {"blank", "a b"}, {"no-ascii", "ä"}, {"65-letters", "x".repeat(65)}}) {
            answers.write("SEND_MESSAGE", one[0], send(PARENT, one[1], one[0]), null);
        }
        answers.write("SEND_MESSAGE", "to-the-queue-itself", sendWith("%LMQ%$" + PARENT + "$direct", "direct", ""), null);
    }

    /** Changes of what a client reads; what there should not be is taken back. */
    private void subscribing() throws Exception {
        answers.write("LITE_SUBSCRIPTION_CTL", "no-body", raw.call(RequestCode.LITE_SUBSCRIPTION_CTL, null), null);
        for (String[] wrong : new String[][] {{"no-json", "{"}, {"empty", "{}"}, {"no-changes", "{\"subscriptionSet\":[]}"},
            {"unknown-action", "{\"subscriptionSet\":[{\"action\":\"X\",\"clientId\":\"c-x\",\"group\":\"" + GROUP + "\",\"topic\":\"" + PARENT + "\",\"liteTopicSet\":[\"a\"]}]}"},
            {"no-action", "{\"subscriptionSet\":[{\"clientId\":\"c-x\",\"group\":\"" + GROUP + "\",\"topic\":\"" + PARENT + "\",\"liteTopicSet\":[\"a\"]}]}"}}) {
            answers.write("LITE_SUBSCRIPTION_CTL", wrong[0], raw.call(RequestCode.LITE_SUBSCRIPTION_CTL, wrong[1].getBytes(StandardCharsets.UTF_8)), null);
        }
        for (Object[] wrong : new Object[][] {{"client-unset", "clientId", null}, {"client-blank", "clientId", " "}, {"group-unset", "group", null},
            {"topic-unset", "topic", null}, {"no-topic", "topic", "diff-nowhere"}, {"no-parent", "topic", PLAIN}, {"no-group", "group", "diff-nobody"},
            {"group-of-another", "group", "diff-liter-other"}, {"group-of-none", "group", "diff-liter-unbound"}, {"group-of-what-is-not", "group", "diff-liter-nowhere"},
            {"disabled", "group", "diff-liter-off"}, {"slash", "liteTopicSet", List.of("a/b")}, {"empty-name", "liteTopicSet", List.of("")},
            {"65-letters", "liteTopicSet", List.of("x".repeat(65))}, {"names-unset", "liteTopicSet", null}, {"good", "version", 1}}) {
            for (String action : List.of("PARTIAL_ADD", "COMPLETE_ADD", "PARTIAL_REMOVE", "COMPLETE_REMOVE")) {
                String client = "c-" + wrong[0];
                answers.write("LITE_SUBSCRIPTION_CTL", wrong[0] + "-" + action.toLowerCase(), change(action, client, GROUP, PARENT, List.of("a"), wrong), null);
                change("COMPLETE_REMOVE", client, GROUP, PARENT, null);
            }
        }
    }

    private RemotingCommand change(String action, String client, String group, String parent, List<String> names, Object... more) throws Exception {
        Map<String, Object> change = new LinkedHashMap<>();
        change.put("action", action);
        change.put("clientId", client);
        change.put("group", group);
        change.put("topic", parent);
        change.put("liteTopicSet", names);
        change.put("version", System.currentTimeMillis());
        for (int i = more.length % 2; i < more.length; i += 2) {
            change.put(more[i].toString(), more[i + 1]);
        }
        return raw.call(RequestCode.LITE_SUBSCRIPTION_CTL, JSON.toJSONBytes(Map.of("subscriptionSet", List.of(change))));
    }

    private void reads(String client, String group, String... names) throws Exception {
        Env.equal("the answer to " + client, 0, change("PARTIAL_ADD", client, group, PARENT, Arrays.asList(names)).getCode());
    }

    private void limits() throws Exception {
        answers.write("LITE_SUBSCRIPTION_CTL", "client-quota", change("PARTIAL_ADD", "c-quota", "diff-liter-quota", PARENT, List.of("a", "b", "c")), null);
        answers.write("LITE_SUBSCRIPTION_CTL", "client-quota-complete", change("COMPLETE_ADD", "c-quota", "diff-liter-quota", PARENT, List.of("a", "b", "c")), null);
        change("COMPLETE_REMOVE", "c-quota", "diff-liter-quota", PARENT, null);
        maxSubscriptions("1");
        answers.write("LITE_SUBSCRIPTION_CTL", "room-for-one", change("PARTIAL_ADD", "c-room", GROUP, PARENT, List.of("a")), null);
        answers.write("LITE_SUBSCRIPTION_CTL", "no-room", change("PARTIAL_ADD", "c-room", GROUP, PARENT, List.of("b")), null);
        answers.write("LITE_SUBSCRIPTION_CTL", "no-room-but-known", change("PARTIAL_ADD", "c-room", GROUP, PARENT, List.of("a")), null);
        answers.write("LITE_SUBSCRIPTION_CTL", "no-room-complete", change("COMPLETE_ADD", "c-room", GROUP, PARENT, List.of("a", "b")), null);
        change("COMPLETE_REMOVE", "c-room", GROUP, PARENT, null);
        maxSubscriptions("100000");
    }

    private void maxSubscriptions(String most) throws Exception {
        Properties settings = new Properties();
        settings.setProperty("maxLiteSubscriptionCount", most);
        env.admin.updateBrokerConfig(env.broker, settings);
    }

    private RemotingCommand pop(String client, String group, long invisibleMs, long pollMs, Object... more) throws Exception {
        Map<String, Object> fields = new TreeMap<>(Map.of("clientId", client, "consumerGroup", group, "topic", PARENT, "maxMsgNum", 32,
            "invisibleTime", invisibleMs, "pollTime", pollMs, "bornTime", System.currentTimeMillis()));
        for (int i = more.length % 2; i < more.length; i += 2) {
            fields.put(more[i].toString(), more[i + 1]);
        }
        return raw.call(RequestCode.POP_LITE_MESSAGE, null, fields.entrySet().stream().flatMap(field -> Stream.of(field.getKey(), field.getValue())).toArray());
    }

    private List<MessageExt> popped(String row, RemotingCommand answer) throws Exception {
        List<MessageExt> messages = answer.getCode() == 0 ? MessageDecoder.decodes(ByteBuffer.wrap(answer.getBody())) : new ArrayList<>();
        List<String> told = new ArrayList<>();
        for (MessageExt message : messages) {
            told.add(Env.body(message) + " of " + message.getTopic() + " " + message.getProperty("INNER_MULTI_DISPATCH") + "/" + message.getProperty("INNER_MULTI_QUEUE_OFFSET"));
        }
        // In which order lite topics come is nobody's promise.
        told.sort(null);
        answers.write("POP_LITE_MESSAGE", row, answer, messages.isEmpty() ? null : told.toString());
        return messages;
    }

    private void popping() throws Exception {
        reads("c-pop", GROUP, "p-1", "p-2");
        for (Object[] wrong : new Object[][] {{"client-unset", "clientId", null}, {"group-unset", "consumerGroup", null}, {"topic-unset", "topic", null},
            {"invisible-unset", "invisibleTime", null}, {"invisible-below-0", "invisibleTime", -1}, {"invisible-0", "invisibleTime", 0},
            {"messages-unset", "maxMsgNum", null}, {"33-messages", "maxMsgNum", 33}, {"no-messages", "maxMsgNum", 0}, {"poll-unset", "pollTime", null},
            {"born-unset", "bornTime", null}, {"no-topic", "topic", "diff-nowhere"}, {"no-parent", "topic", PLAIN}, {"no-group", "consumerGroup", "diff-nobody"},
            {"group-of-another", "consumerGroup", "diff-liter-other"}, {"group-of-none", "consumerGroup", "diff-liter-unbound"},
            {"disabled", "consumerGroup", "diff-liter-off"}, {"nothing-there", "pollTime", 10}, {"reads-nothing", "clientId", "c-nobody"}}) {
            popped(wrong[0].toString(), pop("c-pop", GROUP, LONG_MS, 0, wrong));
        }
        for (String body : List.of("p-1-1", "p-1-2", "p-2-1")) {
            sent(PARENT, body.substring(0, 3), body);
        }
        popped("good", pop("c-pop", GROUP, LONG_MS, 5_000));
        sent(PARENT, "p-1", "p-1-3");
        popped("blocked", pop("c-pop", GROUP, LONG_MS, 500));
        popped("of-another-client", pop("c-other", GROUP, LONG_MS, 0));
        sent(PARENT, "p-3", "p-3-1");
        sent(PARENT, "p-3", "p-3-2");
        reads("c-one", GROUP, "p-3");
        popped("one-of-two", pop("c-one", GROUP, LONG_MS, 5_000, "maxMsgNum", 1));
        popped("rest-of-two", pop("c-one", GROUP, LONG_MS, 500));
    }

    private String handle(RemotingCommand answer, MessageExt message) {
        Map<String, String> fields = answer.getExtFields();
        String offset = message.getProperty("INNER_MULTI_QUEUE_OFFSET");
        return String.join(" ", offset, fields.get("popTime"), fields.get("invisibleTime"), fields.get("reviveQid"), "0", env.brokerName, "0", offset);
    }

    private void settle(int code, String row, String handle, String lite, Object... more) throws Exception {
        String[] parts = handle.split(" ");
        Map<String, Object> fields = new TreeMap<>(Map.of("consumerGroup", GROUP, "topic", PARENT, "queueId", 0, "extraInfo", handle,
            "offset", parts[parts.length - 1], "liteTopic", lite));
        if (code == RequestCode.CHANGE_MESSAGE_INVISIBLETIME) {
            fields.put("invisibleTime", LONG_MS);
        }
        for (int i = 0; i < more.length; i += 2) {
            fields.put(more[i].toString(), more[i + 1]);
        }
        RemotingCommand answer = raw.call(code, null, fields.entrySet().stream().flatMap(field -> Stream.of(field.getKey(), field.getValue())).toArray());
        answers.write(code == RequestCode.ACK_MESSAGE ? "ACK_MESSAGE" : "CHANGE_MESSAGE_INVISIBLETIME", row, answer, null);
    }

    private void settling() throws Exception {
        for (int at = 1; at <= 5; at++) {
            sent(PARENT, "a-1", "a-1-" + at);
        }
        reads("c-ack", GROUP, "a-1");
        RemotingCommand answer = pop("c-ack", GROUP, LONG_MS, 5_000, "maxMsgNum", 4);
        List<MessageExt> out = popped("to-settle", answer);
        for (int code : new int[] {RequestCode.CHANGE_MESSAGE_INVISIBLETIME, RequestCode.ACK_MESSAGE}) {
            String first = handle(answer, out.get(0));
            settle(code, "no-topic", first, "a-1", "topic", "diff-nowhere");
            settle(code, "no-parent", first, "a-1", "topic", PLAIN);
            settle(code, "no-lite-topic", first, "a-none");
            settle(code, "lite-topic-unset", first, "a-1", "liteTopic", null);
            settle(code, "lite-topic-slash", first, "a/1");
            settle(code, "of-another-lite-topic", first, "p-2");
            settle(code, "queue-1", first, "a-1", "queueId", 1);
            settle(code, "offset-behind-the-end", first, "a-1", "offset", 99);
            settle(code, "offset-below-0", first, "a-1", "offset", -1);
            settle(code, "not-popped", first.replaceFirst("\\d+$", "4"), "a-1");
            settle(code, "no-handle", first, "a-1", "extraInfo", null);
            settle(code, "short-handle", first, "a-1", "extraInfo", "0 1 2");
            settle(code, "no-number", first, "a-1", "extraInfo", first.replaceFirst(" \\d+ ", " x "));
            settle(code, "another-pop-time", first, "a-1", "extraInfo", first.replaceFirst(" (\\d+)\\d ", " $15 "));
            settle(code, "another-broker", first, "a-1", "extraInfo", first.replace(env.brokerName, "diff-broker"));
            settle(code, "another-group", first, "a-1", "consumerGroup", "diff-liter-other");
            settle(code, "no-group", first, "a-1", "consumerGroup", "diff-nobody");
            settle(code, "not-in-order", first, "a-1", "extraInfo", first.replace(" 999 ", " 0 "));
        }
        settle(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, "good", handle(answer, out.get(1)), "a-1");
        settle(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, "invisible-below-0", handle(answer, out.get(1)), "a-1", "invisibleTime", -1);
        for (MessageExt message : out) {
            settle(RequestCode.ACK_MESSAGE, "good-" + message.getProperty("INNER_MULTI_QUEUE_OFFSET"), handle(answer, message), "a-1");
        }
        settle(RequestCode.ACK_MESSAGE, "replayed", handle(answer, out.get(3)), "a-1");
        settle(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, "acknowledged", handle(answer, out.get(3)), "a-1");
        popped("after-all", pop("c-ack", GROUP, LONG_MS, 5_000));
    }

    /** What comes again when its time is up: how often, and by which handles it is settled. */
    private void again() throws Exception {
        sent(PARENT, "g-1", "g-1-1");
        sent(PARENT, "g-1", "g-1-2");
        reads("c-again", GROUP, "g-1");
        RemotingCommand first = pop("c-again", GROUP, SHORT_MS, 5_000, "attemptId", "first");
        List<MessageExt> out = popped("first-time", first);
        popped("same-attempt", pop("c-again", GROUP, SHORT_MS, 0, "attemptId", "first"));
        popped("again", awaited("c-again", GROUP, "attemptId", "second"));
        settle(RequestCode.ACK_MESSAGE, "came-again", handle(first, out.get(0)), "g-1");
    }

    private RemotingCommand awaited(String client, String group, Object... more) throws Exception {
        long deadline = System.currentTimeMillis() + SOON_MS;
        RemotingCommand answer;
        do {
            answer = pop(client, group, LONG_MS, 1_000, more);
        } while (answer.getCode() != 0 && System.currentTimeMillis() < deadline);
        return answer;
    }

    /** Where a group begins in what a client reads for the first time. */
    private void beginning() throws Exception {
        for (int at = 0; at < 5; at++) {
            sent(PARENT, "o-1", "o-1-" + at);
        }
        String[][] options = {{"first", "POLICY", "1"}, {"last", "POLICY", "2"}, {"where-it-is", "POLICY", "0"}, {"no-policy", "POLICY", "9"}, {"offset-0", "OFFSET", "0"},
            {"offset-3", "OFFSET", "3"}, {"offset-99", "OFFSET", "99"}, {"offset-below-0", "OFFSET", "-1"}, {"tail-2", "TAIL_N", "2"}, {"tail-99", "TAIL_N", "99"},
            {"tail-below-0", "TAIL_N", "-1"}, {"time-0", "TIMESTAMP", "0"}, {"time-far", "TIMESTAMP", "9999999999999"}};
        for (String[] option : options) {
            // As a group that never read, and as one that is at 2.
            for (String before : List.of("new", "at-2")) {
                String group = "diff-liter-" + option[0] + "-" + before;
                group(group, PARENT, Map.of());
                if (before.equals("at-2")) {
                    raw.call(RequestCode.UPDATE_CONSUMER_OFFSET, null, "consumerGroup", group, "topic", "%LMQ%$" + PARENT + "$o-1", "queueId", 0, "commitOffset", 2);
                }
                String client = "c-" + option[0] + "-" + before;
                Map<String, Object> begin = Map.of("type", option[1], "value", Long.parseLong(option[2]));
                RemotingCommand answer = change("PARTIAL_ADD", client, group, PARENT, List.of("o-1"), "offsetOption", begin);
                answers.write("LITE_SUBSCRIPTION_CTL", option[0] + "-" + before, answer, null);
                popped(option[0] + "-" + before, pop(client, group, LONG_MS, 500));
            }
        }
    }

    /** Groups that begin anew when a client leaves a lite topic. */
    private void resets() throws Exception {
        for (int at = 0; at < 3; at++) {
            sent(PARENT, "r-1", "r-1-" + at);
        }
        for (String group : List.of("diff-liter-resets", GROUP)) {
            String client = "c-" + group;
            reads(client, group, "r-1");
            popped("before-unsubscribe-" + group, pop(client, group, LONG_MS, 2_000));
            change("PARTIAL_REMOVE", client, group, PARENT, List.of("r-1"));
            popped("unsubscribed-" + group, pop(client, group, LONG_MS, 500));
            reads(client, group, "r-1");
            popped("subscribed-again-" + group, pop(client, group, LONG_MS, 2_000));
            change("COMPLETE_REMOVE", client, group, PARENT, null);
        }
    }

    private void exclusive() throws Exception {
        for (String group : List.of(EXCLUSIVE, "diff-liter-exclusive-resets")) {
            String lite = "x-" + group.length();
            sent(PARENT, lite, lite + "-1");
            String first = "c-first-" + group;
            String second = "c-second-" + group;
            reads(first, group, lite);
            popped("first-of-" + group, pop(first, group, LONG_MS, 2_000));
            reads(second, group, lite);
            popped("second-of-" + group, pop(second, group, LONG_MS, 2_000));
            sent(PARENT, lite, lite + "-2");
            popped("first-later-of-" + group, pop(first, group, LONG_MS, 500));
        }
    }

    private void wild() throws Exception {
        for (String action : List.of("PARTIAL_ADD", "PARTIAL_REMOVE", "COMPLETE_ADD")) {
            answers.write("LITE_SUBSCRIPTION_CTL", "wild-" + action.toLowerCase(), change(action, "c-wild", WILD, PARENT, List.of("w-1")), null);
        }
        sent(PARENT, "w-new", "w-new-1");
        TreeMap<String, String> bodies = new TreeMap<>();
        long deadline = System.currentTimeMillis() + SOON_MS;
        while (System.currentTimeMillis() < deadline) {
            RemotingCommand answer = pop("c-wild", WILD, LONG_MS, 1_000);
            if (answer.getCode() == 0) {
                MessageDecoder.decodes(ByteBuffer.wrap(answer.getBody())).forEach(message -> bodies.put(Env.body(message), ""));
            }
        }
        RemotingCommand all = RemotingCommand.createResponseCommand(0, null);
        // What ours refused, and a half message, which nobody is to see.
        bodies.keySet().removeAll(List.of("65-letters", "blank", "no-ascii", "half"));
        answers.write("POP_LITE_MESSAGE", "wild", all, bodies.keySet().toString());
        change("COMPLETE_REMOVE", "c-wild", WILD, PARENT, null);
        popped("wild-no-more", pop("c-wild", WILD, LONG_MS, 500));
    }

    private void administration() throws Exception {
        ask("GET_BROKER_LITE_INFO", RequestCode.GET_BROKER_LITE_INFO, "good");
        for (String topic : new String[] {PARENT, MORTAL, PLAIN, "diff-nowhere", null}) {
            ask("GET_PARENT_TOPIC_INFO", RequestCode.GET_PARENT_TOPIC_INFO, String.valueOf(topic), "topic", topic);
            ask("GET_LITE_TOPIC_INFO", RequestCode.GET_LITE_TOPIC_INFO, "of-" + topic, "parentTopic", topic, "liteTopic", "a-1");
            ask("GET_LITE_CLIENT_INFO", RequestCode.GET_LITE_CLIENT_INFO, "of-" + topic, "parentTopic", topic, "group", GROUP, "clientId", "c-pop", "maxCount", 5);
        }
        for (String[] lite : new String[][] {{"none", "none"}, {"slash", "a/b"}, {"empty-name", ""}, {"name-unset", null}}) {
            ask("GET_LITE_TOPIC_INFO", RequestCode.GET_LITE_TOPIC_INFO, lite[0], "parentTopic", PARENT, "liteTopic", lite[1]);
        }
        for (String group : new String[] {GROUP, "diff-liter-other", "diff-liter-unbound", "diff-nobody", null}) {
            ask("GET_LITE_CLIENT_INFO", RequestCode.GET_LITE_CLIENT_INFO, "by-" + group, "parentTopic", PARENT, "group", group, "clientId", "c-pop", "maxCount", 1);
            ask("GET_LITE_GROUP_INFO", RequestCode.GET_LITE_GROUP_INFO, "by-" + group, "group", group, "liteTopic", null, "topK", 50);
            ask("GET_LITE_GROUP_INFO", RequestCode.GET_LITE_GROUP_INFO, "one-by-" + group, "group", group, "liteTopic", "p-1", "topK", 3);
            ask("TRIGGER_LITE_DISPATCH", RequestCode.TRIGGER_LITE_DISPATCH, "by-" + group, "group", group);
        }
        for (String lite : List.of("p-1", "none")) {
            RemotingCommand pulled = raw.call(RequestCode.PULL_MESSAGE, null, "consumerGroup", "diff-lite-puller", "topic", PARENT, "liteTopic", lite,
                "queueId", 0, "queueOffset", 1, "maxMsgNums", 32, "sysFlag", 4, "commitOffset", 0, "suspendTimeoutMillis", 0, "subscription", "*",
                "subVersion", 0, "expressionType", "TAG");
            answers.write("PULL_MESSAGE", lite, pulled, pulled.getCode() == 0 ? DifferentialLight.messages(pulled) : null);
            for (long time : new long[] {0, 9_999_999_999_999L}) {
                answers.write("SEARCH_OFFSET_BY_TIMESTAMP", lite + "-" + time, raw.call(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, null, "topic", PARENT,
                    "liteTopic", lite, "queueId", 0, "timestamp", time), null);
            }
        }
        ask("GET_LITE_GROUP_INFO", RequestCode.GET_LITE_GROUP_INFO, "topk-unset", "group", GROUP);
        ask("GET_LITE_GROUP_INFO", RequestCode.GET_LITE_GROUP_INFO, "none", "group", GROUP, "liteTopic", "none", "topK", 3);
        ask("GET_LITE_CLIENT_INFO", RequestCode.GET_LITE_CLIENT_INFO, "nobody", "parentTopic", PARENT, "group", GROUP, "clientId", "c-nobody", "maxCount", 5);
        ask("GET_LITE_CLIENT_INFO", RequestCode.GET_LITE_CLIENT_INFO, "count-unset", "parentTopic", PARENT, "group", GROUP, "clientId", "c-pop");
    }

    private void ask(String request, int code, String row, Object... fields) throws Exception {
        RemotingCommand answer = raw.call(code, null, fields);
        answers.write(request, row, answer, answer.getCode() == 0 ? DifferentialAnswers.lines(answer.getBody()) : null);
    }

    /** A lite topic that nobody uses goes, with what its group had read; the next of its name begins anew. */
    private void expiry() throws Exception {
        Env.equal("the answer", 0, change("PARTIAL_ADD", "c-mortal", OF_MORTAL, MORTAL, List.of("m")).getCode());
        RemotingCommand answer = pop("c-mortal", OF_MORTAL, LONG_MS, 2_000, "topic", MORTAL);
        popped("mortal", answer);
        String queue = "%LMQ%$" + MORTAL + "$m";
        Env.await("the end of " + queue, EXPIRY_MS, () -> isGone(queue));
        ask("GET_LITE_TOPIC_INFO", RequestCode.GET_LITE_TOPIC_INFO, "expired", "parentTopic", MORTAL, "liteTopic", "m");
        ask("GET_LITE_CLIENT_INFO", RequestCode.GET_LITE_CLIENT_INFO, "expired", "parentTopic", MORTAL, "group", OF_MORTAL, "clientId", "c-mortal", "maxCount", 5);
        answers.write("QUERY_CONSUMER_OFFSET", "expired", raw.call(RequestCode.QUERY_CONSUMER_OFFSET, null, "consumerGroup", OF_MORTAL, "topic", queue, "queueId", 0), null);
        for (MessageExt message : answer.getCode() == 0 ? MessageDecoder.decodes(ByteBuffer.wrap(answer.getBody())) : new ArrayList<MessageExt>()) {
            settle(RequestCode.ACK_MESSAGE, "expired-" + message.getProperty("INNER_MULTI_QUEUE_OFFSET"), handle(answer, message), "m", "topic", MORTAL, "consumerGroup", OF_MORTAL);
        }
        sent(MORTAL, "m", "m3");
        popped("after-expiry", pop("c-mortal", OF_MORTAL, LONG_MS, 2_000, "topic", MORTAL));
    }

    private boolean isGone(String queue) throws Exception {
        Map<String, String> fields = raw.call(RequestCode.GET_MAX_OFFSET, null, "topic", queue, "queueId", 0).getExtFields();
        return fields == null || "0".equals(fields.getOrDefault("offset", "0"));
    }
}
