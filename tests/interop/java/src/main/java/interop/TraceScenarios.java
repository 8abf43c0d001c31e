package interop;

import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.trace.TraceContext;
import org.apache.rocketmq.client.trace.TraceDataEncoder;
import org.apache.rocketmq.client.trace.TraceType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.topic.TopicValidator;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

/** Traces that clients write of what happened to a message, and their readers. */
final class TraceScenarios {
    static void add(Suite suite) {
        suite.add("trace.sent-and-consumed", TraceScenarios::consumed);
        suite.add("trace.transaction", TraceScenarios::transaction);
    }

    /** What the trace topic says of a message, by kind. */
    static Map<TraceType, TraceContext> traces(Env env, String id) throws Exception {
        Map<TraceType, TraceContext> found = new EnumMap<>(TraceType.class);
        try {
            long now = System.currentTimeMillis();
            List<MessageExt> messages = env.admin.queryMessage(TopicValidator.RMQ_SYS_TRACE_TOPIC, id, 64, now - 600_000, now + 60_000).getMessageList();
            for (MessageExt message : messages) {
                for (TraceContext context : TraceDataEncoder.decoderFromTraceDataString(Env.body(message))) {
                    if (context.getTraceBeans().get(0).getMsgId().equals(id)) {
                        found.put(context.getTraceType(), context);
                    }
                }
            }
        } catch (org.apache.rocketmq.client.exception.MQClientException e) {
            // Apache's broker has the topic when the first trace was sent to it.
            Env.check(e.toString().contains("no message") || e.getResponseCode() == ResponseCode.TOPIC_NOT_EXIST, e.toString());
        }
        return found;
    }

    private static void consumed(Env env) throws Exception {
        String topic = env.topic("trace-consumed", 2);
        DefaultMQProducer producer = new DefaultMQProducer("P-" + topic);
        producer.setEnableTrace(true);
        producer.setNamesrvAddr(env.namesrv);
        producer.start();
        DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
        consumer.setEnableTrace(true);
        Received received = new Received(consumer, topic, "*");
        Message message = Env.message(topic, "Blue", "traced");
        message.setKeys("traced-key");
        String id = Env.sent(producer.send(message)).getMsgId();
        Env.awaitSize("messages", received.messages, 1, 15_000);
        // Clients write their traces every five seconds.
        Env.await("three records of " + id, 25_000, () -> traces(env, id).size() == 3);
        Map<TraceType, TraceContext> traces = traces(env, id);
        TraceContext sent = traces.get(TraceType.Pub);
        Env.equal("producer, topic, tag and key", List.of("P-" + topic, topic, "Blue", "traced-key"), List.of(sent.getGroupName(),
            sent.getTraceBeans().get(0).getTopic(), sent.getTraceBeans().get(0).getTags(), sent.getTraceBeans().get(0).getKeys()));
        Env.equal("where it was stored", env.broker, sent.getTraceBeans().get(0).getStoreHost());
        Env.equal("region", "DefaultRegion", sent.getRegionId());
        Env.equal("consumer", "C-" + topic, traces.get(TraceType.SubBefore).getGroupName());
        Env.check(traces.get(TraceType.SubAfter).isSuccess(), "the trace does not say that it was consumed");
        String printed = Admin.run(env, "queryMsgTraceById", "-i", id);
        Env.contains("queryMsgTraceById", printed, "#Type", "#ProducerGroup");
        Env.equal("the line of the producer", "P-" + topic, Admin.rows(printed, "Pub").get(0)[1]);
        Env.equal("the line of the consumer", "C-" + topic, Admin.rows(printed, "Sub").get(0)[1]);
        received.stop();
        producer.shutdown();
    }

    private static void transaction(Env env) throws Exception {
        String topic = env.topic("trace-transaction", 1);
        TransactionMQProducer producer = new TransactionMQProducer("P-" + topic);
        producer.setEnableTrace(true);
        producer.setNamesrvAddr(env.namesrv);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message half, Object argument) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt half) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        producer.start();
        String id = Env.sent(producer.sendMessageInTransaction(Env.message(topic, "T", "half"), null)).getMsgId();
        Env.await("both records of " + id, 25_000, () -> traces(env, id).keySet().containsAll(List.of(TraceType.Pub, TraceType.EndTransaction)));
        TraceContext end = traces(env, id).get(TraceType.EndTransaction);
        Env.equal("group, topic, decision", List.of("P-" + topic, topic, LocalTransactionState.COMMIT_MESSAGE),
            List.of(end.getGroupName(), end.getTraceBeans().get(0).getTopic(), end.getTraceBeans().get(0).getTransactionState()));
        producer.shutdown();
    }
}
