package interop;

import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/**
 * The state that commands are compared in: topics, groups, messages and clients, made by the same calls of any server. Messages
 * have the same ids in each, and go to given queues one after the other, so that they lie at the same places.
 */
final class DifferentialState implements AutoCloseable {
    static final String TOPIC = "diff-topic";
    static final String FIFO = "diff-fifo";
    static final String EMPTY = "diff-empty";
    static final String STATIC = "diff-static";
    static final String ONLINE = "diff-online";
    static final String BEHIND = "diff-behind";
    static final String DEFAULTS = "diff-defaults";
    static final String PRODUCER = "P-diff";
    static final String TRACED = "P-diff-traced";
    static final int MESSAGES = 12;
    private static final int QUEUES = 4;
    /** By what is sent; made once, so that all servers get the same. */
    private static final Map<String, String> IDS = new ConcurrentHashMap<>();

    final Map<String, SendResult> sent = new HashMap<>();
    /** What the consumer's client is called. */
    final String clientId;
    private final Env env;
    private final DefaultMQProducer producer;
    private final DefaultMQPushConsumer consumer;

    DifferentialState(Env env) throws Exception {
        this.env = env;
        topics();
        groups();
        producer = producer(PRODUCER, false);
        for (int i = 0; i < MESSAGES; i++) {
            Message message = message(TOPIC, i % 2 == 0 ? "A" : "B", "body-" + i);
            message.putUserProperty("colour", "green");
            send(producer, message, i % QUEUES);
        }
        send(producer, message(FIFO, "A", "fifo-0"), 0);
        Message later = message(TOPIC, "A", "later");
        later.setDelayTimeLevel(18);
        send(producer, later, 0);
        traced();
        consumer = consume();
        clientId = consumer.buildMQClientId();
        for (MessageQueue queue : List.of(queue(0), queue(1))) {
            env.admin.updateConsumeOffset(env.broker, BEHIND, queue, 1);
        }
        settings();
    }

    private void topics() throws Exception {
        env.topic(TOPIC, QUEUES);
        env.topic(EMPTY, 2);
        TopicConfig fifo = new TopicConfig(FIFO, 1, 1);
        fifo.setOrder(true);
        fifo.getAttributes().put("+message.type", "FIFO");
        env.admin.createAndUpdateTopicConfig(env.broker, fifo);
        Env.await("the route of " + FIFO, 5_000, () -> env.routeExists(FIFO));
    }

    private void groups() throws Exception {
        for (String name : List.of(ONLINE, BEHIND, DEFAULTS)) {
            SubscriptionGroupConfig group = new SubscriptionGroupConfig();
            group.setGroupName(name);
            if (name.equals(BEHIND)) {
                group.setRetryMaxTimes(3);
                group.setConsumeBroadcastEnable(false);
            }
            env.admin.createAndUpdateSubscriptionGroupConfig(env.broker, group);
        }
    }

    private DefaultMQProducer producer(String group, boolean traced) throws Exception {
        DefaultMQProducer started = new DefaultMQProducer(group);
        started.setEnableTrace(traced);
        started.setNamesrvAddr(env.namesrv);
        started.setInstanceName(group);
        started.start();
        return started;
    }

    /** One message whose trace is in the trace topic. */
    private void traced() throws Exception {
        DefaultMQProducer traced = producer(TRACED, true);
        SendResult result = send(traced, message(TOPIC, "A", "traced"), 0);
        Env.await("the trace", 10_000, () -> Admin.print(env, "queryMsgTraceById", "-i", result.getMsgId()).contains(TRACED));
        traced.shutdown();
    }

    /** A consumer that has read everything, one message after a retry. */
    private DefaultMQPushConsumer consume() throws Exception {
        Set<String> bodies = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer started = env.pushConsumer(ONLINE);
        started.setInstanceName(ONLINE);
        started.subscribe(TOPIC, "A || B");
        started.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            boolean again = Env.body(messages.get(0)).equals("body-3") && messages.get(0).getReconsumeTimes() == 0;
            if (again) {
                context.setDelayLevelWhenNextConsume(1);
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            messages.forEach(message -> bodies.add(Env.body(message)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        started.start();
        Env.awaitSize("messages", bodies, MESSAGES + 1, 30_000);
        Env.await("offsets", 10_000, () -> {
            // The client does so for the first time after ten seconds.
            started.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            return env.admin.examineConsumeStats(ONLINE).computeTotalDiff() == 0;
        });
        return started;
    }

    private void settings() throws Exception {
        env.admin.createAndUpdateKvConfig("diff", "colour", "blue");
        env.admin.createOrUpdateOrderConf(FIFO, env.brokerName + ":1", true);
        for (String[] user : new String[][] {{"alice", "Normal"}, {"bob", "Super"}}) {
            Admin.run(env, "createUser", "-b", env.broker, "-u", user[0], "-p", "secret-" + user[0], "-t", user[1]);
        }
        Admin.run(env, "createAcl", "-b", env.broker, "-s", "User:alice", "-r", "Topic:" + TOPIC + ",Group:*", "-a", "Pub,Sub", "-d", "Allow",
            "-i", "192.0.2.0/24");
        Admin.run(env, "updateColdDataFlowCtrGroupConfig", "-b", env.broker, "-g", ONLINE, "-v", "1048576");
    }

    MessageQueue queue(int id) {
        return new MessageQueue(TOPIC, env.brokerName, id);
    }

    private static Message message(String topic, String tag, String body) {
        return new Message(topic, tag, "key-" + body, body.getBytes(StandardCharsets.UTF_8));
    }

    private SendResult send(DefaultMQProducer by, Message message, int queue) throws Exception {
        String body = new String(message.getBody(), StandardCharsets.UTF_8);
        String id = IDS.computeIfAbsent(body, ignored -> MessageClientIDSetter.createUniqID());
        MessageAccessor.putProperty(message, MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX, id);
        SendResult result = Env.sent(by.send(message, new MessageQueue(message.getTopic(), env.brokerName, queue)));
        sent.put(body, result);
        return result;
    }

    @Override
    public void close() {
        consumer.shutdown();
        producer.shutdown();
    }
}
