package main

import (
	"context"
	"fmt"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
)

var pullScenarios = []scenario{
	{"pull.poll", pullPoll},
}

func pullPoll(e *env) error {
	topic, err := e.topic("go-pull", 2)
	if err != nil {
		return err
	}
	p, err := e.producer(topic)
	if err != nil {
		return err
	}
	defer p.Shutdown()
	expected, err := sendMany(p, topic, "A", "p", 20)
	if err != nil {
		return err
	}
	if _, err = sendMany(p, topic, "B", "other", 5); err != nil {
		return err
	}
	c, err := rocketmq.NewPullConsumer(consumer.WithNsResolver(e.resolver()), consumer.WithGroupName("C-"+topic),
		consumer.WithInstance("C-"+topic), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return err
	}
	defer c.Shutdown()
	if err = c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "A"}); err != nil {
		return err
	}
	if err = c.Start(); err != nil {
		return err
	}
	got := &received{}
	for deadline := time.Now().Add(40 * time.Second); got.count() < 20 && time.Now().Before(deadline); {
		request, err := c.Poll(context.Background(), time.Second)
		if consumer.IsNoNewMsgError(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		got.add(request.GetMsgList())
		c.ACK(context.Background(), request, consumer.ConsumeSuccess)
	}
	return got.expect(expected)
}
