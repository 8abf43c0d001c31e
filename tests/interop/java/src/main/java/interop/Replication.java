package interop;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.sysflag.PullSysFlag;
import org.apache.rocketmq.remoting.CommandCustomHeader;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyRemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.RemotingSerializable;
import org.apache.rocketmq.remoting.protocol.body.KVTable;
import org.apache.rocketmq.remoting.protocol.body.SyncStateSet;
import org.apache.rocketmq.remoting.protocol.header.CreateTopicRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.GetMaxOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.GetMaxOffsetResponseHeader;
import org.apache.rocketmq.remoting.protocol.header.GetMinOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.GetMinOffsetResponseHeader;
import org.apache.rocketmq.remoting.protocol.header.PullMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PullMessageResponseHeader;
import org.apache.rocketmq.remoting.protocol.header.controller.GetMetaDataResponseHeader;
import org.apache.rocketmq.remoting.protocol.header.controller.GetReplicaInfoRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.controller.GetReplicaInfoResponseHeader;
import org.apache.rocketmq.remoting.protocol.header.namesrv.GetRouteInfoRequestHeader;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;

/**
 * A client of a replicated cluster, directed by the runner: NAMESRV. It reads one command a line, and answers each by a line:
 * 'done ...' or 'failed CAUSE'.
 */
public final class Replication {
    private static final String TOPIC = "replication";
    private static final String GROUP = "C-" + TOPIC;
    private static final int QUEUES = 3;
    private static final int TIMEOUT_MS = 10_000;

    private final NettyRemotingClient remoting = new NettyRemotingClient(new NettyClientConfig());
    private final Ledger ledger = new Ledger();
    private final String namesrv;
    private Load load;
    private DefaultMQPushConsumer consumer;
    private int readers;

    private Replication(String namesrv) {
        this.namesrv = namesrv;
    }

    public static void main(String[] args) throws Exception {
        Replication client = new Replication(args[0]);
        client.remoting.start();
        PrintStream out = System.out;
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            try {
                out.println("done " + client.run(line.split(" ")));
            } catch (Throwable e) {
                e.printStackTrace();
                out.println("failed " + String.valueOf(e).replaceAll("\\s+", " "));
            }
        }
        System.exit(0);
    }

    private String run(String[] words) throws Exception {
        List<String> rest = Arrays.asList(words).subList(1, words.length);
        switch (words[0]) {
            case "topic": // ADDRESS...
                for (String address : rest) {
                    createTopic(address);
                }
                return "";
            case "masters": // NAMESRV
                return String.join(" ", masters(rest.get(0)));
            case "replicas": // CONTROLLERS GROUP
                return replicas(rest.get(0).split(";"), rest.get(1));
            case "start": // the clients
                load = new Load(namesrv, TOPIC, ledger);
                consume();
                return "";
            case "load":
                load.start();
                return "";
            case "rest": // the load, for a while
                load.stop();
                return ledger.promises() + " " + ledger.failures();
            case "hold":
                consumer.suspend();
                return "";
            case "release":
                consumer.resume();
                return "";
            case "send":
                long begin = System.nanoTime();
                SendResult sent = load.plain();
                return sent.getSendStatus() + " " + (System.nanoTime() - begin) / 1_000_000 + " " + MessageDecoder.decodeMessageId(sent.getOffsetMsgId()).getOffset();
            case "leave": // LEVEL DELAY_MS: in flight
                load.later(Integer.parseInt(rest.get(0)), 0);
                load.later(0, Long.parseLong(rest.get(1)));
                load.transaction(true, true);
                return "";
            case "decide":
                load.decide();
                return "";
            case "consumed": // SECONDS all|plain
                boolean all = rest.get(1).equals("all");
                try {
                    Env.await("messages", Long.parseLong(rest.get(0)) * 1000, () -> ledger.notConsumed(all).isEmpty());
                } catch (AssertionError e) {
                    throw new AssertionError(e.getMessage() + "; not consumed are " + Ledger.names(ledger.notConsumed(all)));
                }
                return ledger.promises() + " " + ledger.consumedAgain();
            case "ordered": // SECONDS
                return String.valueOf(readOrdered(Long.parseLong(rest.get(0)) * 1000));
            case "records": // NAME=ADDRESS...
                Map<String, List<MessageExt>> records = new HashMap<>();
                for (String broker : rest) {
                    String[] parts = broker.split("=");
                    records.put(parts[0], records(parts[1]));
                }
                List<String> again = ledger.compare(records);
                return ledger.promises() + " " + String.join(",", again);
            case "ends": // ADDRESS: of the topic's queues
                List<String> ends = new ArrayList<>();
                for (int queue = 0; queue < QUEUES; queue++) {
                    ends.add(String.valueOf(maxOffset(rest.get(0), queue)));
                }
                return String.join(",", ends);
            case "runtime": // ADDRESS KEY
                RemotingCommand state = ask(rest.get(0), RequestCode.GET_BROKER_RUNTIME_INFO, null);
                return KVTable.decode(state.getBody(), KVTable.class).getTable().get(rest.get(1));
            case "metadata": // ADDRESS CODE
                byte[] body = ask(rest.get(0), Integer.parseInt(rest.get(1)), null).getBody();
                return body == null ? "" : new String(body, StandardCharsets.UTF_8).replace('\n', ' ');
            default:
                throw new IllegalArgumentException("no such command: " + words[0]);
        }
    }

    private void createTopic(String address) throws Exception {
        TopicConfig config = new TopicConfig(TOPIC, QUEUES, QUEUES);
        CreateTopicRequestHeader header = new CreateTopicRequestHeader();
        header.setTopic(TOPIC);
        header.setDefaultTopic("TBW102");
        header.setReadQueueNums(QUEUES);
        header.setWriteQueueNums(QUEUES);
        header.setPerm(config.getPerm());
        header.setTopicFilterType(config.getTopicFilterType().name());
        header.setTopicSysFlag(0);
        header.setOrder(false);
        ask(address, RequestCode.UPDATE_AND_CREATE_TOPIC, header);
    }

    /** The masters that a name server tells; none where it doesn't answer. */
    private List<String> masters(String server) {
        GetRouteInfoRequestHeader header = new GetRouteInfoRequestHeader();
        header.setTopic(TOPIC);
        try {
            byte[] route = ask(server, RequestCode.GET_ROUTEINFO_BY_TOPIC, header).getBody();
            return TopicRouteData.decode(route, TopicRouteData.class).getBrokerDatas().stream()
                .map(group -> group.getBrokerAddrs().get(MixAll.MASTER_ID)).filter(Objects::nonNull).toList();
        } catch (Exception | AssertionError e) {
            return List.of();
        }
    }

    /** What the controllers' leader tells of a group: address of the master, epoch, ids in sync. */
    private String replicas(String[] controllers, String group) throws Exception {
        GetReplicaInfoRequestHeader header = new GetReplicaInfoRequestHeader(group);
        for (String controller : controllers) {
            try {
                String leader = ((GetMetaDataResponseHeader) ask(controller, RequestCode.CONTROLLER_GET_METADATA_INFO, null)
                    .decodeCommandCustomHeader(GetMetaDataResponseHeader.class)).getControllerLeaderAddress();
                RemotingCommand answer = ask(leader, RequestCode.CONTROLLER_GET_REPLICA_INFO, header);
                GetReplicaInfoResponseHeader info = (GetReplicaInfoResponseHeader) answer.decodeCommandCustomHeader(GetReplicaInfoResponseHeader.class);
                SyncStateSet inSync = RemotingSerializable.decode(answer.getBody(), SyncStateSet.class);
                return info.getMasterAddress() + " " + info.getMasterEpoch() + " "
                    + inSync.getSyncStateSet().stream().map(String::valueOf).collect(Collectors.joining(","));
            } catch (Exception | AssertionError e) {
                // Another one may know, or the same one in a moment.
                System.err.println("controller " + controller + ": " + e);
            }
        }
        return "none 0 ";
    }

    private void consume() throws Exception {
        consumer = new DefaultMQPushConsumer(GROUP);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(GROUP);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPollNameServerInterval(500);
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.setPersistConsumerOffsetInterval(1_000);
        consumer.subscribe(TOPIC, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            batch.forEach(ledger::consumed);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
    }

    /** Reads all that is acknowledged and plain with a consumer that locks the queues, of a group of its own; returns how much it got. */
    private int readOrdered(long patienceMs) throws Exception {
        Map<String, Long> last = new ConcurrentHashMap<>();
        Set<String> read = ConcurrentHashMap.newKeySet();
        List<String> disorder = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer reader = new DefaultMQPushConsumer("O-" + TOPIC + "-" + ++readers);
        reader.setNamesrvAddr(namesrv);
        reader.setInstanceName(reader.getConsumerGroup());
        reader.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        reader.setPollNameServerInterval(500);
        reader.setHeartbeatBrokerInterval(1_000);
        reader.subscribe(TOPIC, "*");
        reader.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
            for (MessageExt message : batch) {
                Long before = last.put(message.getBrokerName() + " " + message.getQueueId(), message.getQueueOffset());
                if (before != null && before >= message.getQueueOffset()) {
                    disorder.add(message.getKeys());
                }
                read.add(message.getKeys());
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        reader.start();
        try {
            Env.await("all messages in their order", patienceMs, () -> read.containsAll(ledger.plain()));
        } finally {
            reader.shutdown();
        }
        Env.check(disorder.isEmpty(), "not in order: " + Ledger.names(disorder));
        return read.size();
    }

    /** All that one broker has of the topic, a slave too. */
    private List<MessageExt> records(String address) throws Exception {
        List<MessageExt> records = new ArrayList<>();
        for (int queue = 0; queue < QUEUES; queue++) {
            long end = maxOffset(address, queue);
            for (long at = minOffset(address, queue); at < end;) {
                RemotingCommand answer = remoting.invokeSync(address, RemotingCommand.createRequestCommand(RequestCode.PULL_MESSAGE, pull(queue, at)), TIMEOUT_MS);
                Env.equal("answer of " + address + " to a pull at " + at + ": " + answer.getRemark(), ResponseCode.SUCCESS, answer.getCode());
                records.addAll(MessageDecoder.decodes(ByteBuffer.wrap(answer.getBody())));
                at = ((PullMessageResponseHeader) answer.decodeCommandCustomHeader(PullMessageResponseHeader.class)).getNextBeginOffset();
            }
        }
        return records;
    }

    private static PullMessageRequestHeader pull(int queue, long offset) {
        PullMessageRequestHeader header = new PullMessageRequestHeader();
        header.setConsumerGroup(GROUP);
        header.setTopic(TOPIC);
        header.setQueueId(queue);
        header.setQueueOffset(offset);
        header.setMaxMsgNums(32);
        header.setSysFlag(PullSysFlag.buildSysFlag(false, false, true, false));
        header.setCommitOffset(0L);
        header.setSuspendTimeoutMillis(0L);
        header.setSubscription("*");
        header.setSubVersion(0L);
        header.setExpressionType("TAG");
        return header;
    }

    private long maxOffset(String address, int queue) throws Exception {
        GetMaxOffsetRequestHeader header = new GetMaxOffsetRequestHeader();
        header.setTopic(TOPIC);
        header.setQueueId(queue);
        RemotingCommand answer = ask(address, RequestCode.GET_MAX_OFFSET, header);
        return ((GetMaxOffsetResponseHeader) answer.decodeCommandCustomHeader(GetMaxOffsetResponseHeader.class)).getOffset();
    }

    private long minOffset(String address, int queue) throws Exception {
        GetMinOffsetRequestHeader header = new GetMinOffsetRequestHeader();
        header.setTopic(TOPIC);
        header.setQueueId(queue);
        RemotingCommand answer = ask(address, RequestCode.GET_MIN_OFFSET, header);
        return ((GetMinOffsetResponseHeader) answer.decodeCommandCustomHeader(GetMinOffsetResponseHeader.class)).getOffset();
    }

    private RemotingCommand ask(String address, int code, CommandCustomHeader header) throws Exception {
        RemotingCommand answer = remoting.invokeSync(address, RemotingCommand.createRequestCommand(code, header), TIMEOUT_MS);
        Env.equal("answer of " + address + " to " + code + ": " + answer.getRemark(), ResponseCode.SUCCESS, answer.getCode());
        return answer;
    }
}
