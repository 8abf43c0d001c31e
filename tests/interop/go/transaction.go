package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var transactionScenarios = []scenario{
	{"transaction.decided", transactionDecided},
	{"transaction.checked", transactionChecked},
}

// decisions are what a producer decides at once, and what it answers to checks, by a word in the body.
type decisions struct {
	sync.Mutex
	checked []string
}

func decide(body []byte, otherwise primitive.LocalTransactionState) primitive.LocalTransactionState {
	switch {
	case strings.Contains(string(body), "commit"):
		return primitive.CommitMessageState
	case strings.Contains(string(body), "rollback"):
		return primitive.RollbackMessageState
	}
	return otherwise
}

func (d *decisions) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	if strings.HasPrefix(string(m.Body), "later") {
		return primitive.UnknowState
	}
	return decide(m.Body, primitive.UnknowState)
}

func (d *decisions) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	d.Lock()
	defer d.Unlock()
	d.checked = append(d.checked, string(m.Body))
	return decide(m.Body, primitive.UnknowState)
}

// transact sends bodies as transactions and expects that a consumer gets some of them.
func transact(e *env, topic string, bodies, expected []string) (*decisions, error) {
	topic, err := e.topic(topic, 2)
	if err != nil {
		return nil, err
	}
	d := &decisions{}
	p, err := rocketmq.NewTransactionProducer(d, producer.WithNsResolver(e.resolver()),
		producer.WithGroupName("P-"+topic), producer.WithInstanceName("P-"+topic))
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	defer p.Shutdown()
	got, stop, err := collect(e, topic, consumer.MessageSelector{})
	if err != nil {
		return nil, err
	}
	defer stop()
	for _, body := range bodies {
		result, err := p.SendMessageInTransaction(context.Background(), primitive.NewMessage(topic, []byte(body)))
		if err != nil {
			return nil, err
		}
		if result.Status != primitive.SendOK {
			return nil, fmt.Errorf("%s: %v", body, result)
		}
	}
	if err := got.expect(expected); err != nil {
		return nil, err
	}
	// What is wrongly asked about, or delivered again, would come now.
	time.Sleep(2500 * time.Millisecond)
	return d, got.expect(expected)
}

func transactionDecided(e *env) error {
	d, err := transact(e, "go-transaction-decided", []string{"commit1", "rollback1", "commit2"}, []string{"commit1", "commit2"})
	if err == nil && len(d.checked) > 0 {
		err = fmt.Errorf("checked: %v", d.checked)
	}
	return err
}

func transactionChecked(e *env) error {
	d, err := transact(e, "go-transaction-checked", []string{"later-commit", "later-rollback"}, []string{"later-commit"})
	if err != nil {
		return err
	}
	d.Lock()
	defer d.Unlock()
	if len(d.checked) != 2 {
		return fmt.Errorf("checked: %v", d.checked)
	}
	return nil
}
