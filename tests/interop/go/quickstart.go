package main

import (
	"context"
	"fmt"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var quickstartScenarios = []scenario{
	{"quickstart", firstMessage},
}

// firstMessage is the README's, with default settings and a topic that nobody created.
func firstMessage(e *env) error {
	servers := e.resolver()
	p, err := rocketmq.NewProducer(producer.WithNsResolver(servers))
	if err != nil {
		return err
	}
	if err = p.Start(); err != nil {
		return err
	}
	defer p.Shutdown()
	if _, err = p.SendSync(context.Background(), primitive.NewMessage("GoGreetings", []byte("hello"))); err != nil {
		return err
	}

	received := make(chan string, 8)
	c, err := rocketmq.NewPushConsumer(consumer.WithGroupName("my-go-consumers"), consumer.WithNsResolver(servers))
	if err != nil {
		return err
	}
	listener := func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, message := range messages {
			received <- string(message.Body)
		}
		return consumer.ConsumeSuccess, nil
	}
	if err = c.Subscribe("GoGreetings", consumer.MessageSelector{}, listener); err != nil {
		return err
	}
	if err = c.Start(); err != nil {
		return err
	}
	defer c.Shutdown()
	select {
	case body := <-received:
		if body != "hello" {
			return fmt.Errorf("received %q", body)
		}
		return nil
	case <-time.After(60 * time.Second):
		return fmt.Errorf("nothing received")
	}
}
