package main

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// env is the server under test and clients of it.
type env struct {
	namesrv, broker string
}

func (e *env) resolver() primitive.NsResolver {
	return primitive.NewPassthroughResolver([]string{e.namesrv})
}

// topic creates a topic and returns its name.
func (e *env) topic(name string, queues int) (string, error) {
	a, err := admin.NewAdmin(admin.WithResolver(e.resolver()))
	if err != nil {
		return "", err
	}
	defer a.Close()
	err = a.CreateTopic(context.Background(), admin.WithTopicCreate(name), admin.WithBrokerAddrCreate(e.broker),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues))
	return name, err
}

// producer is started and in a group and a client instance of its own.
func (e *env) producer(name string, options ...producer.Option) (rocketmq.Producer, error) {
	options = append(options, producer.WithNsResolver(e.resolver()), producer.WithGroupName("P-"+name), producer.WithInstanceName("P-"+name))
	p, err := rocketmq.NewProducer(options...)
	if err != nil {
		return nil, err
	}
	return p, p.Start()
}

func (e *env) pushConsumer(name, group string, options ...consumer.Option) (rocketmq.PushConsumer, error) {
	options = append(options, consumer.WithNsResolver(e.resolver()), consumer.WithGroupName(group), consumer.WithInstance(name),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	return rocketmq.NewPushConsumer(options...)
}

// received is what a listener saw.
type received struct {
	sync.Mutex
	messages []*primitive.MessageExt
	at       []time.Time
}

func (r *received) add(messages []*primitive.MessageExt) {
	r.Lock()
	defer r.Unlock()
	for _, m := range messages {
		r.messages = append(r.messages, m)
		r.at = append(r.at, time.Now())
	}
}

func (r *received) bodies() []string {
	r.Lock()
	defer r.Unlock()
	bodies := make([]string, len(r.messages))
	for i, m := range r.messages {
		bodies[i] = string(m.Body)
	}
	return bodies
}

func (r *received) count() int {
	r.Lock()
	defer r.Unlock()
	return len(r.messages)
}

// expect waits for exactly these bodies, in any order.
func (r *received) expect(bodies []string) error {
	if err := await("messages", 40*time.Second, func() bool { return r.count() >= len(bodies) }); err != nil {
		return fmt.Errorf("%w: got %d of %d", err, r.count(), len(bodies))
	}
	got, want := r.bodies(), append([]string(nil), bodies...)
	sort.Strings(got)
	sort.Strings(want)
	return equal("bodies", want, got)
}

func await(what string, timeout time.Duration, condition func() bool) error {
	for deadline := time.Now().Add(timeout); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s for %s", timeout, what)
		}
	}
	return nil
}

func equal(what string, want, got any) error {
	if w, g := fmt.Sprint(want), fmt.Sprint(got); w != g {
		return fmt.Errorf("%s: expected <%s>, got <%s>", what, w, g)
	}
	return nil
}

func message(topic, tag, body string) *primitive.Message {
	return primitive.NewMessage(topic, []byte(body)).WithTag(tag)
}

// sendMany sends bodies prefix0, prefix1, ... and returns them.
func sendMany(p rocketProducer, topic, tag, prefix string, count int) ([]string, error) {
	var bodies []string
	for i := range count {
		body := fmt.Sprint(prefix, i)
		result, err := p.SendSync(context.Background(), message(topic, tag, body))
		if err != nil {
			return nil, err
		}
		if result.Status != primitive.SendOK {
			return nil, fmt.Errorf("send status %d", result.Status)
		}
		bodies = append(bodies, body)
	}
	return bodies, nil
}
