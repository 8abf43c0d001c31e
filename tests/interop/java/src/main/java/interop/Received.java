package interop;

import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** A started push consumer that consumes everything and keeps it. */
final class Received {
    final Queue<MessageExt> messages = new ConcurrentLinkedQueue<>();
    final DefaultMQPushConsumer consumer;
    private final Map<String, Long> arrivedAt = new ConcurrentHashMap<>();

    /** In a group named after the topic. */
    Received(Env env, String topic, String expression) throws Exception {
        this(env.pushConsumer("C-" + topic), topic, expression);
    }

    Received(DefaultMQPushConsumer consumer, String topic, String expression) throws Exception {
        this(consumer, topic, MessageSelector.byTag(expression));
    }

    Received(DefaultMQPushConsumer consumer, String topic, MessageSelector selector) throws Exception {
        this.consumer = consumer;
        // Without this, what was consumed last may be left out of the offsets that a stopping consumer commits.
        consumer.setAwaitTerminationMillisWhenShutdown(5_000);
        consumer.subscribe(topic, selector);
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            for (MessageExt message : batch) {
                arrivedAt.put(message.getMsgId(), System.currentTimeMillis());
                messages.add(message);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
    }

    long arrivedAt(MessageExt message) {
        return arrivedAt.get(message.getMsgId());
    }

    List<String> bodies() {
        return messages.stream().map(Env::body).toList();
    }

    int queueCount() {
        return (int) consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> !queue.getTopic().startsWith("%RETRY%")).count();
    }

    /** Waits for exactly these bodies, in any order, stops, and returns the messages. */
    List<MessageExt> expect(Collection<String> bodies) throws Exception {
        Env.awaitSize("messages", messages, bodies.size(), 15_000);
        stop();
        Env.sameElements("bodies", bodies, bodies());
        return List.copyOf(messages);
    }

    /** Waits until members of a group have all bodies together, most of them once. */
    static void awaitAll(Collection<Received> members, Collection<String> sent, long millis) throws Exception {
        Set<String> lost = new HashSet<>(sent);
        try {
            Env.await("every message at least once", millis, () -> {
                members.forEach(member -> member.bodies().forEach(lost::remove));
                return lost.isEmpty();
            });
        } catch (AssertionError e) {
            throw new AssertionError("lost " + lost.size() + " of " + sent.size() + ": " + lost, e);
        }
        int total = members.stream().mapToInt(member -> member.messages.size()).sum();
        Env.check(total < sent.size() * 1.5, total + " deliveries of " + sent.size() + " messages");
    }

    void stop() {
        consumer.shutdown();
    }
}
