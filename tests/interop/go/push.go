package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

type rocketProducer = rocketmq.Producer

var pushScenarios = []scenario{
	{"push.tags", pushTags},
	{"push.clustering", pushClustering},
	{"push.orderly", pushOrderly},
	{"push.retry", pushRetry},
}

func pushTags(e *env) error {
	topic, err := e.topic("go-push-tags", 2)
	if err != nil {
		return err
	}
	p, err := e.producer(topic)
	if err != nil {
		return err
	}
	defer p.Shutdown()
	got, stop, err := collect(e, topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "A || B"})
	if err != nil {
		return err
	}
	defer stop()
	var expected []string
	for _, tag := range []string{"A", "B", "C"} {
		bodies, err := sendMany(p, topic, tag, tag, 5)
		if err != nil {
			return err
		}
		if tag != "C" {
			expected = append(expected, bodies...)
		}
	}
	return got.expect(expected)
}

// pushClustering: two members of a group share the queues.
func pushClustering(e *env) error {
	topic, err := e.topic("go-push-clustering", 4)
	if err != nil {
		return err
	}
	p, err := e.producer(topic)
	if err != nil {
		return err
	}
	defer p.Shutdown()
	both, shares := &received{}, [2]received{}
	for i := range shares {
		c, err := e.pushConsumer(fmt.Sprint(topic, i), "C-"+topic)
		if err != nil {
			return err
		}
		defer c.Shutdown()
		err = c.Subscribe(topic, consumer.MessageSelector{}, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			both.add(messages)
			shares[i].add(messages)
			return consumer.ConsumeSuccess, nil
		})
		if err != nil {
			return err
		}
		if err = c.Start(); err != nil {
			return err
		}
	}
	// The members are balanced as soon as both get something.
	if err = await("both members to get messages", 45*time.Second, func() bool {
		_, err = sendMany(p, topic, "T", "probe", 8)
		time.Sleep(200 * time.Millisecond)
		return err != nil || (shares[0].count() > 0 && shares[1].count() > 0)
	}); err != nil {
		return err
	}
	before := both.count()
	if _, err = sendMany(p, topic, "T", "c", 40); err != nil {
		return err
	}
	return await("forty more messages", 10*time.Second, func() bool { return both.count() >= before+40 })
}

// pushOrderly: per queue in order, through a failure that suspends the queue.
func pushOrderly(e *env) error {
	topic, err := e.topic("go-push-orderly", 2)
	if err != nil {
		return err
	}
	p, err := e.producer(topic, producer.WithQueueSelector(producer.NewHashQueueSelector()))
	if err != nil {
		return err
	}
	defer p.Shutdown()
	for i := range 40 {
		m := message(topic, "T", fmt.Sprint(i)).WithShardingKey(fmt.Sprint("key", i%4))
		if _, err = p.SendSync(context.Background(), m); err != nil {
			return err
		}
	}
	got, failures, lock := &received{}, 0, sync.Mutex{}
	c, err := e.pushConsumer("C-"+topic, "C-"+topic, consumer.WithConsumerOrder(true), consumer.WithSuspendCurrentQueueTimeMillis(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer c.Shutdown()
	err = c.Subscribe(topic, consumer.MessageSelector{}, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		lock.Lock()
		defer lock.Unlock()
		if string(messages[0].Body) == "20" && failures < 2 {
			failures++
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		got.add(messages)
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return err
	}
	if err = c.Start(); err != nil {
		return err
	}
	if err = await("all messages", 45*time.Second, func() bool { return got.count() >= 40 }); err != nil {
		return fmt.Errorf("%w: got %d", err, got.count())
	}
	next := map[int]int64{}
	for _, m := range got.messages {
		if err = equal(fmt.Sprint("next offset in queue ", m.Queue.QueueId), next[m.Queue.QueueId], m.QueueOffset); err != nil {
			return err
		}
		next[m.Queue.QueueId]++
	}
	return equal("failures", 2, failures)
}

// pushRetry: a failed message comes again, counted, after its delay.
func pushRetry(e *env) error {
	topic, err := e.topic("go-push-retry", 1)
	if err != nil {
		return err
	}
	p, err := e.producer(topic)
	if err != nil {
		return err
	}
	defer p.Shutdown()
	got := &received{}
	c, err := e.pushConsumer("C-"+topic, "C-"+topic)
	if err != nil {
		return err
	}
	defer c.Shutdown()
	err = c.Subscribe(topic, consumer.MessageSelector{}, func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		got.add(messages)
		if messages[0].ReconsumeTimes == 0 {
			if concurrently, ok := primitive.GetConcurrentlyCtx(ctx); ok {
				concurrently.DelayLevelWhenNextConsume = 1
			}
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return err
	}
	if err = c.Start(); err != nil {
		return err
	}
	if _, err = sendMany(p, topic, "T", "again", 1); err != nil {
		return err
	}
	// The client learns of its retry topic at its next route poll, 30 s apart.
	if err = await("the second try", 55*time.Second, func() bool { return got.count() >= 2 }); err != nil {
		return fmt.Errorf("%w: got %d", err, got.count())
	}
	second := got.messages[1]
	return equal("body and count", "again0 1", fmt.Sprint(string(second.Body), " ", second.ReconsumeTimes))
}
