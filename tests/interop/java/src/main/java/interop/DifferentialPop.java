package interop;

import interop.RawPop.Popped;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Base64;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/**
 * What raw POP requests are answered, one after the other and so in the same state of either server: good ones, and each of those
 * that cannot be.
 */
final class DifferentialPop {
    private static final String TOPIC = "diff-pop";
    private static final String GROUP = "diff-popper";
    private static final String OTHER = "diff-popper-other";
    private static final String WRITE_ONLY = "diff-pop-write-only";
    private static final String DISABLED = "diff-popper-disabled";
    private static final int MESSAGES = 12;
    private static final long LONG_MS = 600_000;
    private static final long SHORT_MS = 2_000;
    /** Apache's looks for what is due once a second, and a second later than that. */
    private static final long AGAIN_MS = 20_000;

    private final Env env;
    private final DifferentialAnswers answers;
    private final RawPop pops;

    private DifferentialPop(Env env, Path folder) {
        this.env = env;
        answers = new DifferentialAnswers(folder, "pop");
        pops = new RawPop(env, GROUP, TOPIC);
    }

    static void record(Env env, Path folder) throws Exception {
        DifferentialPop rows = new DifferentialPop(env, folder);
        rows.state();
        rows.asking();
        rows.settling();
        rows.settlingMany();
        rows.again();
    }

    private void state() throws Exception {
        env.topic(TOPIC, 1);
        env.admin.createAndUpdateTopicConfig(env.broker, new TopicConfig(WRITE_ONLY, 1, 1, 2));
        for (String name : List.of(GROUP, DISABLED)) {
            SubscriptionGroupConfig group = new SubscriptionGroupConfig();
            group.setGroupName(name);
            group.setConsumeEnable(name.equals(GROUP));
            env.admin.createAndUpdateSubscriptionGroupConfig(env.broker, group);
        }
        DefaultMQProducer producer = env.producer(TOPIC);
        for (int i = 0; i < MESSAGES; i++) {
            Message message = Env.message(TOPIC, i == 2 ? "B" : "A", "popped-" + i);
            Env.sent(producer.send(message, new MessageQueue(TOPIC, env.brokerName, 0)));
        }
        producer.shutdown();
    }

    /** Pops, peeks, questions: first what cannot be, as that changes nothing. */
    private void asking() throws Exception {
        for (Object[] wrong : new Object[][] {
            {"no-topic", "topic", "diff-nowhere"}, {"write-only", "topic", WRITE_ONLY}, {"disabled", "consumerGroup", DISABLED},
            {"queue-99", "queueId", 99}, {"group-unset", "consumerGroup", null}, {"topic-unset", "topic", null},
            {"queue-unset", "queueId", null, "consumerGroup", "diff-popper-q"}}) {
            for (int code : new int[] {RequestCode.POP_MESSAGE, RequestCode.PEEK_MESSAGE, RequestCode.NOTIFICATION, RequestCode.POLLING_INFO}) {
                ask(code, wrong);
            }
        }
        for (Object[] wrong : new Object[][] {
            {"33-messages", "maxMsgNums", 33}, {"messages-unset", "maxMsgNums", null, "consumerGroup", "diff-popper-m"},
            {"invisible-unset", "invisibleTime", null, "consumerGroup", "diff-popper-i"}, {"expression", "expType", "SQL92", "exp", "colour ="},
            {"born-long-ago", "bornTime", 1, "consumerGroup", "diff-popper-o"}, {"init-mode-7", "initMode", 7, "consumerGroup", "diff-popper-7"}}) {
            ask(RequestCode.POP_MESSAGE, wrong);
        }
        ask(RequestCode.PEEK_MESSAGE, "33-messages", "maxMsgNums", 33);
        for (int code : new int[] {RequestCode.PEEK_MESSAGE, RequestCode.NOTIFICATION, RequestCode.POLLING_INFO}) {
            ask(code, "good");
        }
        ask(RequestCode.POP_MESSAGE, "of-a-tag", "exp", "B", "consumerGroup", "diff-popper-b");
        ask(RequestCode.POP_MESSAGE, "of-a-tag-nobody-has", "exp", "C", "consumerGroup", "diff-popper-c");
        ask(RequestCode.NOTIFICATION, "nothing-left", "consumerGroup", "diff-popper-c", "pollTime", 10);
        ask(RequestCode.PEEK_MESSAGE, "nothing-left", "consumerGroup", "diff-popper-c");
    }

    /** Acknowledgements and changes of one message. */
    private void settling() throws Exception {
        RemotingCommand answer = pops.ask(0, 4, LONG_MS, 0, "*");
        write("POP_MESSAGE", "good", answer);
        List<Popped> out = pops.read(answer);
        for (int code : new int[] {RequestCode.ACK_MESSAGE, RequestCode.CHANGE_MESSAGE_INVISIBLETIME}) {
            Popped first = out.get(code == RequestCode.ACK_MESSAGE ? 0 : 3);
            // A handle need not name the message.
            String any = first.handle().replaceFirst(" \\d+$", "");
            settle(code, "no-topic", first, "topic", "diff-nowhere");
            settle(code, "queue-99", first, "queueId", 99);
            settle(code, "queue-below-0", first, "queueId", -1);
            settle(code, "offset-behind-the-end", first, "extraInfo", any, "offset", MESSAGES + 1);
            settle(code, "offset-below-0", first, "extraInfo", any, "offset", -1);
            settle(code, "not-popped", first, "extraInfo", any, "offset", MESSAGES - 1);
            settle(code, "of-another-message", first, "offset", out.get(1).offset());
            settle(code, "no-handle", first, "extraInfo", null);
            settle(code, "short-handle", first, "extraInfo", "0 1 2");
            settle(code, "no-number", first, "extraInfo", first.handle().replaceFirst(" \\d+ ", " x "));
            settle(code, "another-pop-time", first, "extraInfo", first.handle().replaceFirst(" \\d+ ", " " + (popTime(first) - 1) + " "));
            settle(code, "expired", first, "extraInfo", first.handle().replaceFirst(" " + LONG_MS + " ", " 1 "));
            settle(code, "another-broker", first, "extraInfo", first.handle().replace(env.brokerName, "diff-broker"));
            settle(code, "another-group", first, "consumerGroup", OTHER);
            settle(code, "no-group", first, "consumerGroup", null);
        }
        settle(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, "invisible-below-0", out.get(3), "invisibleTime", -1, "consumerGroup", OTHER);
        settle(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, "good", out.get(1));
        settle(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, "replayed", out.get(1));
        settle(RequestCode.ACK_MESSAGE, "changed-since", out.get(1));
        settle(RequestCode.ACK_MESSAGE, "good", out.get(2));
        settle(RequestCode.ACK_MESSAGE, "replayed", out.get(2));
        settle(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, "acknowledged", out.get(2));
    }

    private static long popTime(Popped popped) {
        return Long.parseLong(popped.handle().split(" ")[1]);
    }

    /** Acknowledgements of several. */
    private void settlingMany() throws Exception {
        List<Popped> out = pops.read(pops.ask(0, 4, LONG_MS, 0, "*"));
        String body = batch(out, out.size());
        many("no-body", null);
        many("no-json", "{");
        many("nothing", "{\"brokerName\":\"" + env.brokerName + "\",\"acks\":[]}");
        many("another-broker", body.replace(env.brokerName, "diff-broker"));
        many("no-topic", body.replace('"' + TOPIC + '"', "\"diff-nowhere\""));
        many("queue-99", body.replace("\"q\":0", "\"q\":99"));
        many("behind-the-end", batch(out, 64));
        many("good", body);
        many("replayed", body);
    }

    private String batch(List<Popped> out, int bits) {
        String[] parts = out.get(0).handle().split(" ");
        BitSet set = new BitSet();
        set.set(0, bits);
        return "{\"brokerName\":\"%s\",\"acks\":[{\"c\":\"%s\",\"t\":\"%s\",\"r\":\"0\",\"so\":%s,\"q\":0,\"rq\":%s,\"pt\":%s,\"it\":%s,\"b\":\"%s\"}]}".formatted(
            env.brokerName, GROUP, TOPIC, parts[0], parts[3], parts[1], parts[2], Base64.getEncoder().encodeToString(set.toByteArray()));
    }

    private void many(String row, String body) throws Exception {
        write("BATCH_ACK_MESSAGE", row, pops.call(RequestCode.BATCH_ACK_MESSAGE, body == null ? null : body.getBytes(StandardCharsets.UTF_8)));
    }

    /** What comes again, and its old and new handles. */
    private void again() throws Exception {
        Popped late = pops.read(pops.ask(0, 1, SHORT_MS, 0, "*")).get(0);
        RemotingCommand again = pops.ask(-1, 32, LONG_MS, 0, "*");
        write("POP_MESSAGE", "the-rest", again);
        long deadline = System.currentTimeMillis() + AGAIN_MS;
        do {
            Env.check(System.currentTimeMillis() < deadline, "it does not come again");
            again = pops.ask(-1, 32, LONG_MS, 500, "*");
        } while (again.getCode() != 0);
        write("POP_MESSAGE", "again", again);
        settle(RequestCode.ACK_MESSAGE, "came-again", late);
        settle(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, "came-again", late);
        settle(RequestCode.ACK_MESSAGE, "of-a-retry", pops.read(again).get(0));
    }

    private void ask(int code, Object... wrong) throws Exception {
        Map<String, Object> fields = new TreeMap<>(Map.of("consumerGroup", GROUP, "topic", TOPIC, "queueId", 0, "maxMsgNums", 2,
            "invisibleTime", LONG_MS, "pollTime", 0, "bornTime", System.currentTimeMillis(), "initMode", 0, "expType", "TAG", "exp", "*"));
        fields.put("order", code == RequestCode.NOTIFICATION ? null : false);
        fields.put("attemptId", null);
        write(name(code), wrong[0].toString(), send(code, fields, wrong, 1));
    }

    private void ask(int code, String row, Object... wrong) throws Exception {
        Object[] all = new Object[wrong.length + 1];
        all[0] = row;
        System.arraycopy(wrong, 0, all, 1, wrong.length);
        ask(code, all);
    }

    private void settle(int code, String row, Popped popped, Object... wrong) throws Exception {
        Map<String, Object> fields = new TreeMap<>(Map.of("consumerGroup", GROUP, "topic", popped.topic(), "queueId", popped.queue(),
            "extraInfo", popped.handle(), "offset", popped.offset()));
        fields.put("invisibleTime", code == RequestCode.CHANGE_MESSAGE_INVISIBLETIME ? LONG_MS : null);
        write(name(code), row, send(code, fields, wrong, 0));
    }

    private RemotingCommand send(int code, Map<String, Object> fields, Object[] wrong, int from) throws Exception {
        for (int i = from; i < wrong.length; i += 2) {
            fields.put(wrong[i].toString(), wrong[i + 1]);
        }
        return pops.call(code, null, fields.entrySet().stream().flatMap(entry -> Stream.of(entry.getKey(), entry.getValue())).toArray());
    }

    private static String name(int code) {
        return switch (code) {
            case RequestCode.POP_MESSAGE -> "POP_MESSAGE";
            case RequestCode.PEEK_MESSAGE -> "PEEK_MESSAGE";
            case RequestCode.NOTIFICATION -> "NOTIFICATION";
            case RequestCode.POLLING_INFO -> "POLLING_INFO";
            case RequestCode.ACK_MESSAGE -> "ACK_MESSAGE";
            default -> "CHANGE_MESSAGE_INVISIBLETIME";
        };
    }

    private void write(String request, String row, RemotingCommand answer) throws Exception {
        String body = null;
        if (answer.getCode() == 0 && answer.getBody() != null && answer.getBody().length > 0) {
            boolean isPop = answer.getExtFields().containsKey("popTime") && answer.getExtFields().containsKey("startOffsetInfo");
            body = isPop ? messages(answer) : answer.getBody().length + " bytes";
        }
        answers.write(request, row, answer, body);
    }

    /** Without what differs by nature: times. */
    private String messages(RemotingCommand answer) {
        List<String> all = pops.read(answer).stream()
            .map(popped -> popped.body() + " of " + popped.topic() + " " + popped.queue() + "/" + popped.offset() + " x" + popped.times()).toList();
        return all.toString();
    }
}
