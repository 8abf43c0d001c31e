package interop;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/** The README's first message, as it stands there: default settings, a topic that nobody created. */
final class QuickstartScenario {
    static void add(Suite suite) {
        suite.add("quickstart", QuickstartScenario::firstMessage);
    }

    private static void firstMessage(Env env) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("my-producers");
        producer.setNamesrvAddr(env.namesrv);
        producer.start();
        producer.send(new Message("Greetings", "TagA", "hello".getBytes()));
        producer.shutdown();

        CompletableFuture<String> received = new CompletableFuture<>();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("my-consumers");
        consumer.setNamesrvAddr(env.namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe("Greetings", "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> received.complete(new String(message.getBody())));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Env.equal("received", "hello", received.get(60, TimeUnit.SECONDS));
        consumer.shutdown();
    }
}
