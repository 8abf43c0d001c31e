package interop;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/**
 * What a message costs the official Java client; the same as the example 'speed' of the Rust client, in arguments and
 * output: NAMESRV TOPIC sync|async|consume MESSAGES WARM_UP.
 */
public final class Speed {
    private static final int BODY = 1_024;
    private static final int UNDER_WAY = 256;
    private static final OperatingSystemMXBean SYSTEM = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private static long started;
    private static long used;

    public static void main(String[] args) throws Exception {
        String namesrv = args[0];
        String topic = args[1];
        int messages = Integer.parseInt(args[3]);
        int warmUp = Integer.parseInt(args[4]);
        switch (args[2]) {
            case "sync", "async" -> send(namesrv, topic, args[2].equals("sync"), messages, warmUp);
            case "consume" -> consume(namesrv, topic, messages, warmUp);
            default -> throw new IllegalArgumentException(args[2]);
        }
        double seconds = (System.nanoTime() - started) / 1e9;
        double cpu = (SYSTEM.getProcessCpuTime() - used) / 1e9;
        System.out.printf("{\"messages\":%d,\"seconds\":%.3f,\"cpu_seconds\":%.3f,\"memory\":%d}%n", messages, seconds, cpu, memory());
        System.exit(0);
    }

    private static void begin() {
        started = System.nanoTime();
        used = SYSTEM.getProcessCpuTime();
    }

    private static void send(String namesrv, String topic, boolean sync, int messages, int warmUp) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("SpeedJavaProducers");
        producer.setNamesrvAddr(namesrv);
        producer.start();
        send(producer, topic, sync, warmUp);
        begin();
        send(producer, topic, sync, messages);
    }

    private static void send(DefaultMQProducer producer, String topic, boolean sync, int count) throws Exception {
        byte[] body = new byte[BODY];
        Semaphore places = new Semaphore(UNDER_WAY);
        AtomicLong failed = new AtomicLong();
        SendCallback callback = new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                places.release();
            }

            @Override
            public void onException(Throwable e) {
                failed.incrementAndGet();
                places.release();
            }
        };
        for (int i = 0; i < count; i++) {
            Message message = new Message(topic, body);
            if (sync) {
                Env.sent(producer.send(message));
            } else {
                places.acquire();
                producer.send(message, callback);
            }
        }
        places.acquire(UNDER_WAY);
        Env.equal("sends that failed", 0L, failed.get());
    }

    private static void consume(String namesrv, String topic, int messages, int warmUp) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("SpeedJava" + ProcessHandle.current().pid());
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        Semaphore taken = new Semaphore(0);
        consumer.registerMessageListener((MessageListenerConcurrently) (list, context) -> {
            taken.release(list.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        taken.acquire(warmUp);
        begin();
        taken.acquire(messages);
    }

    /** Most memory that was held, in bytes. */
    private static long memory() throws Exception {
        for (String line : java.nio.file.Files.readAllLines(java.nio.file.Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
            }
        }
        return 0;
    }
}
