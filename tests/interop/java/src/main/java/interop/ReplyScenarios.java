package interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;

/** Requests that are sent as messages, and their replies, which come back to the producer that asked. */
final class ReplyScenarios {
    static void add(Suite suite) {
        suite.add("requestReply.sync-and-async", ReplyScenarios::answered);
        suite.add("requestReply.nobody-answers", ReplyScenarios::unanswered);
        suite.add("requestReply.requester-gone", ReplyScenarios::gone);
    }

    /** A consumer that answers each request with its body in capitals. */
    private static DefaultMQPushConsumer replier(Env env, String topic, DefaultMQProducer answering) throws Exception {
        DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            try {
                for (MessageExt request : batch) {
                    byte[] body = Env.body(request).toUpperCase().getBytes(StandardCharsets.UTF_8);
                    Env.sent(answering.send(MessageUtil.createReplyMessage(request, body)));
                }
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    private static void answered(Env env) throws Exception {
        String topic = env.topic("request-reply", 2);
        DefaultMQProducer asking = env.producer(topic);
        DefaultMQProducer answering = env.producer(topic + "-answers");
        DefaultMQPushConsumer consumer = replier(env, topic, answering);
        for (int i = 0; i < 3; i++) {
            Message reply = asking.request(Env.message(topic, "T", "sync" + i), 10_000);
            Env.equal("reply", "SYNC" + i, new String(reply.getBody(), StandardCharsets.UTF_8));
            Env.equal("where it was stored", env.cluster + "_REPLY_TOPIC", reply.getTopic());
            Env.check(reply.getProperty(MessageConst.PROPERTY_PUSH_REPLY_TIME) != null, "the reply does not say when it was pushed");
        }
        List<CompletableFuture<String>> replies = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            CompletableFuture<String> reply = new CompletableFuture<>();
            replies.add(reply);
            asking.request(Env.message(topic, "T", "async" + i), new RequestCallback() {
                @Override
                public void onSuccess(Message message) {
                    reply.complete(new String(message.getBody(), StandardCharsets.UTF_8));
                }

                @Override
                public void onException(Throwable e) {
                    reply.completeExceptionally(e);
                }
            }, 10_000);
        }
        for (int i = 0; i < replies.size(); i++) {
            Env.equal("reply", "ASYNC" + i, replies.get(i).get(12, TimeUnit.SECONDS));
        }
        consumer.shutdown();
        answering.shutdown();
        asking.shutdown();
    }

    private static void unanswered(Env env) throws Exception {
        String topic = env.topic("request-unanswered", 1);
        DefaultMQProducer asking = env.producer(topic);
        try {
            asking.request(Env.message(topic, "T", "anybody?"), 1_000);
            throw new AssertionError("a request that nobody answered has a reply");
        } catch (RequestTimeoutException expected) {
            Env.equal("requests stored", 1, Pulled.all(env, topic).size());
        }
        asking.shutdown();
    }

    /** Who replies to a client that is gone learns it; the reply is stored all the same. */
    private static void gone(Env env) throws Exception {
        String topic = env.topic("request-gone", 1);
        DefaultMQProducer answering = env.producer(topic);
        answering.setRetryTimesWhenSendFailed(0);
        Message reply = new Message(env.cluster + "_REPLY_TOPIC", ("late" + System.nanoTime()).getBytes(StandardCharsets.UTF_8));
        reply.putUserProperty("for", topic);
        reply.getProperties().put(MessageConst.PROPERTY_MESSAGE_TYPE, "reply");
        reply.getProperties().put(MessageConst.PROPERTY_CORRELATION_ID, "some id");
        reply.getProperties().put(MessageConst.PROPERTY_MESSAGE_REPLY_TO_CLIENT, "nobody@gone");
        reply.getProperties().put(MessageConst.PROPERTY_MESSAGE_TTL, "3000");
        try {
            answering.send(reply);
            throw new AssertionError("a reply to nobody was taken");
        } catch (MQClientException e) {
            Env.equal("code", 1, e.getResponseCode());
            Env.contains("remark", String.valueOf(e.getCause()), "channel of <nobody@gone> not found");
        }
        String body = new String(reply.getBody(), StandardCharsets.UTF_8);
        Env.check(Pulled.all(env, reply.getTopic()).stream().anyMatch(stored -> Env.body(stored).equals(body)), "the reply was not stored");
        answering.shutdown();
    }
}
