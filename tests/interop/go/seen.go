package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var seenScenarios = []scenario{
	{"requestReply.sync", requestReply},
	{"trace.sent", traceSent},
}

// requestReply has a consumer answer requests with their bodies in capitals.
func requestReply(e *env) error {
	topic, err := e.topic("go-request", 1)
	if err != nil {
		return err
	}
	asking, err := e.producer(topic)
	if err != nil {
		return err
	}
	defer asking.Shutdown()
	answering, err := e.producer(topic + "-answers")
	if err != nil {
		return err
	}
	defer answering.Shutdown()
	c, err := e.pushConsumer("C-"+topic, "C-"+topic)
	if err != nil {
		return err
	}
	err = c.Subscribe(topic, consumer.MessageSelector{}, func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			reply, err := consumer.CreateReplyMessage(m, nil)
			if err != nil {
				return consumer.ConsumeRetryLater, err
			}
			reply.Body = []byte(strings.ToUpper(string(m.Body)))
			// The Go client tells brokers of itself some time after its first message: until then it is not found.
			await("the requester", 8*time.Second, func() bool { _, err = answering.SendSync(ctx, reply); return err == nil })
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	defer c.Shutdown()
	for i := range 3 {
		reply, err := asking.Request(context.Background(), 10*time.Second, message(topic, "T", fmt.Sprint("go", i)))
		if err != nil {
			return err
		}
		if err := equal("reply", fmt.Sprint("GO", i), string(reply.Body)); err != nil {
			return err
		}
	}
	return nil
}

// traceSent expects that the trace topic says who sent a message.
func traceSent(e *env) error {
	topic, err := e.topic("go-trace", 1)
	if err != nil {
		return err
	}
	p, err := e.producer(topic, producer.WithTrace(&primitive.TraceConfig{Access: primitive.Local, Resolver: e.resolver()}))
	if err != nil {
		return err
	}
	defer p.Shutdown()
	sent, err := p.SendSync(context.Background(), message(topic, "Blue", "traced"))
	if err != nil {
		return err
	}
	a, err := admin.NewAdmin(admin.WithResolver(e.resolver()))
	if err != nil {
		return err
	}
	defer a.Close()
	const traces = "RMQ_SYS_TRACE_TOPIC"
	// Apache's broker has it from the first trace on.
	err = await("the trace topic", 20*time.Second, func() bool {
		topics, err := a.FetchAllTopicList(context.Background())
		return err == nil && slices.Contains(topics.TopicList, traces)
	})
	if err != nil {
		return err
	}
	got, stop, err := collect(e, traces, consumer.MessageSelector{})
	if err != nil {
		return err
	}
	defer stop()
	return await("the trace of "+sent.MsgID, 30*time.Second, func() bool {
		return slices.ContainsFunc(got.bodies(), func(body string) bool {
			fields := strings.Split(body, "\x01")
			return fields[0] == "Pub" && slices.Contains(fields, sent.MsgID) && slices.Contains(fields, topic) && slices.Contains(fields, "P-"+topic)
		})
	})
}
