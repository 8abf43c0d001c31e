package interop;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;

/** POP by single requests, as a group does it of a topic; handles are made of answers as official clients make them. */
final class RawPop {
    private static final int TIMEOUT_MS = 20_000;

    /** A message as it was popped; the topic is the one that it is stored in. */
    record Popped(String body, int times, String topic, int queue, long offset, String handle) {
        /** When its time is up, in milliseconds since 1970. */
        long due() {
            String[] parts = ExtraInfoUtil.split(handle);
            return ExtraInfoUtil.getPopTime(parts) + ExtraInfoUtil.getInvisibleTime(parts);
        }
    }

    final String topic;
    final String group;
    private final Env env;

    RawPop(Env env, String group, String topic) {
        this.env = env;
        this.group = group;
        this.topic = topic;
    }

    /** Sends a request with these fields, name after name with its value; those without a value are left out. */
    RemotingCommand call(int code, byte[] body, Object... fields) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        for (int i = 0; i < fields.length; i += 2) {
            if (fields[i + 1] != null) {
                request.addExtField(fields[i].toString(), fields[i + 1].toString());
            }
        }
        request.setBody(body);
        return env.admin.getDefaultMQAdminExtImpl().getMqClientInstance().getMQClientAPIImpl().getRemotingClient()
            .invokeSync(env.broker, request, TIMEOUT_MS);
    }

    RemotingCommand ask(int queue, int most, long invisibleMs, long pollMs, String tags) throws Exception {
        return call(RequestCode.POP_MESSAGE, null, "consumerGroup", group, "topic", topic, "queueId", queue, "maxMsgNums", most,
            "invisibleTime", invisibleMs, "pollTime", pollMs, "bornTime", System.currentTimeMillis(), "initMode", 0, "expType", "TAG",
            "exp", tags, "order", false);
    }

    List<Popped> pop(int most, long invisibleMs, long pollMs) throws Exception {
        RemotingCommand answer = ask(-1, most, invisibleMs, pollMs, "*");
        Env.check(answer.getCode() == ResponseCode.SUCCESS || answer.getCode() == ResponseCode.POLLING_TIMEOUT,
            "a pop: " + answer.getCode() + " " + answer.getRemark());
        return read(answer);
    }

    List<Popped> read(RemotingCommand answer) {
        List<Popped> popped = new ArrayList<>();
        if (answer.getCode() != ResponseCode.SUCCESS) {
            return popped;
        }
        Map<String, String> fields = answer.getExtFields();
        Map<String, Long> starts = ExtraInfoUtil.parseStartOffsetInfo(fields.get("startOffsetInfo"));
        for (MessageExt message : MessageDecoder.decodes(ByteBuffer.wrap(answer.getBody()))) {
            String handle = message.getProperty(MessageConst.PROPERTY_POP_CK);
            if (handle == null) {
                long start = starts.get(ExtraInfoUtil.getStartOffsetInfoMapKey(topic, message.getQueueId()));
                handle = ExtraInfoUtil.buildExtraInfo(start, Long.parseLong(fields.get("popTime")), Long.parseLong(fields.get("invisibleTime")),
                    Integer.parseInt(fields.get("reviveQid")), topic, env.brokerName, message.getQueueId(), message.getQueueOffset());
            }
            String stored = ExtraInfoUtil.getRealTopic(ExtraInfoUtil.split(handle), topic, group);
            popped.add(new Popped(Env.body(message), message.getReconsumeTimes(), stored, message.getQueueId(), message.getQueueOffset(), handle));
        }
        return popped;
    }

    RemotingCommand ack(Popped popped) throws Exception {
        return settle(RequestCode.ACK_MESSAGE, popped, null);
    }

    RemotingCommand change(Popped popped, long invisibleMs) throws Exception {
        return settle(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, popped, invisibleMs);
    }

    private RemotingCommand settle(int code, Popped popped, Long invisibleMs) throws Exception {
        return call(code, null, "consumerGroup", group, "topic", popped.topic, "queueId", popped.queue, "extraInfo", popped.handle,
            "offset", popped.offset, "invisibleTime", invisibleMs);
    }

    /** The handle that a change was answered with. */
    static Popped renewed(Popped popped, RemotingCommand answer) {
        String[] parts = popped.handle.split(" ");
        parts[0] = String.valueOf(popped.offset);
        parts[1] = answer.getExtFields().get("popTime");
        parts[2] = answer.getExtFields().get("invisibleTime");
        parts[3] = answer.getExtFields().get("reviveQid");
        return new Popped(popped.body, popped.times, popped.topic, popped.queue, popped.offset, String.join(" ", parts));
    }
}
