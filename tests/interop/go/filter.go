package main

import (
	"context"
	"fmt"

	"github.com/apache/rocketmq-client-go/v2/consumer"
)

var filterScenarios = []scenario{
	{"filter.push", filterPush},
}

// filterPush: of messages with a price, those that a SQL92 expression wants, and no others.
func filterPush(e *env) error {
	topic, err := e.topic("go-filter-push", 2)
	if err != nil {
		return err
	}
	p, err := e.producer(topic)
	if err != nil {
		return err
	}
	defer p.Shutdown()
	selector := consumer.MessageSelector{Type: consumer.SQL92, Expression: "price BETWEEN 3 AND 5 OR TAGS = 'gift'"}
	got, stop, err := collect(e, topic, selector)
	if err != nil {
		return err
	}
	defer stop()
	var expected []string
	for price := range 10 {
		tag, body := "T", fmt.Sprint("p", price)
		if price == 9 {
			tag = "gift"
		}
		if price >= 3 && price <= 5 || price == 9 {
			expected = append(expected, body)
		}
		m := message(topic, tag, body)
		m.WithProperty("price", fmt.Sprint(price))
		if _, err = p.SendSync(context.Background(), m); err != nil {
			return err
		}
	}
	return got.expect(expected)
}
