package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

var sendScenarios = []scenario{
	{"send.sync", sendSync},
	{"send.async", sendAsync},
	{"send.oneway", sendOneway},
	{"send.batch", sendBatch},
	{"send.properties", sendProperties},
	{"send.compressed", sendCompressed},
	{"send.delay", sendDelay},
	{"timer.delivers", timerDelivers},
}

// collect starts a consumer of the whole topic.
func collect(e *env, topic string, selector consumer.MessageSelector) (*received, func(), error) {
	got := &received{}
	c, err := e.pushConsumer("C-"+topic, "C-"+topic)
	if err != nil {
		return nil, nil, err
	}
	err = c.Subscribe(topic, selector, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		got.add(messages)
		return consumer.ConsumeSuccess, nil
	})
	if err == nil {
		err = c.Start()
	}
	return got, func() { c.Shutdown() }, err
}

// sendAndExpect sends in some way and expects that a consumer gets exactly the bodies.
func sendAndExpect(e *env, topic string, send func(p rocketProducer, topic string) ([]string, error)) (*received, error) {
	topic, err := e.topic(topic, 4)
	if err != nil {
		return nil, err
	}
	p, err := e.producer(topic)
	if err != nil {
		return nil, err
	}
	defer p.Shutdown()
	bodies, err := send(p, topic)
	if err != nil {
		return nil, err
	}
	got, stop, err := collect(e, topic, consumer.MessageSelector{})
	if err != nil {
		return nil, err
	}
	defer stop()
	return got, got.expect(bodies)
}

func sendSync(e *env) error {
	_, err := sendAndExpect(e, "go-send-sync", func(p rocketProducer, topic string) ([]string, error) {
		return sendMany(p, topic, "T", "s", 20)
	})
	return err
}

func sendAsync(e *env) error {
	_, err := sendAndExpect(e, "go-send-async", func(p rocketProducer, topic string) ([]string, error) {
		var bodies []string
		var pending sync.WaitGroup
		errors := make(chan error, 100)
		for i := range 100 {
			bodies = append(bodies, fmt.Sprint("a", i))
			pending.Add(1)
			err := p.SendAsync(context.Background(), func(_ context.Context, _ *primitive.SendResult, err error) {
				if err != nil {
					errors <- err
				}
				pending.Done()
			}, message(topic, "T", bodies[i]))
			if err != nil {
				return nil, err
			}
		}
		pending.Wait()
		select {
		case err := <-errors:
			return nil, err
		default:
			return bodies, nil
		}
	})
	return err
}

func sendOneway(e *env) error {
	_, err := sendAndExpect(e, "go-send-oneway", func(p rocketProducer, topic string) ([]string, error) {
		var bodies []string
		for i := range 50 {
			bodies = append(bodies, fmt.Sprint("o", i))
			if err := p.SendOneWay(context.Background(), message(topic, "T", bodies[i])); err != nil {
				return nil, err
			}
		}
		return bodies, nil
	})
	return err
}

func sendBatch(e *env) error {
	_, err := sendAndExpect(e, "go-send-batch", func(p rocketProducer, topic string) ([]string, error) {
		var bodies []string
		var batch []*primitive.Message
		for i := range 30 {
			bodies = append(bodies, fmt.Sprint("b", i))
			batch = append(batch, message(topic, "T", bodies[i]))
		}
		result, err := p.SendSync(context.Background(), batch...)
		if err != nil {
			return nil, err
		}
		return bodies, equal("offset ids", 30, len(strings.Split(result.OffsetMsgID, ",")))
	})
	return err
}

func sendProperties(e *env) error {
	body := "gr\u00fc\u00dfe \u4f60\u597d"
	got, err := sendAndExpect(e, "go-send-properties", func(p rocketProducer, topic string) ([]string, error) {
		m := message(topic, "\u6807", body).WithKeys([]string{"k1", "k2"})
		m.WithProperty("colour", "bl\u00e5")
		_, err := p.SendSync(context.Background(), m)
		return []string{body}, err
	})
	if err != nil {
		return err
	}
	m := got.messages[0]
	return equal("tag, keys, property", "\u6807 k1 k2 bl\u00e5", m.GetTags()+" "+m.GetKeys()+" "+m.GetProperty("colour"))
}

func sendCompressed(e *env) error {
	body := strings.Repeat("compressible text ", 1000)
	got, err := sendAndExpect(e, "go-send-compressed", func(p rocketProducer, topic string) ([]string, error) {
		_, err := p.SendSync(context.Background(), message(topic, "T", body))
		return []string{body}, err
	})
	if err == nil && int(got.messages[0].StoreSize) > len(body)/4 {
		err = fmt.Errorf("stored size %d of a body of %d", got.messages[0].StoreSize, len(body))
	}
	return err
}

// sendDelay: level 2 is 5 s.
func sendDelay(e *env) error {
	topic, err := e.topic("go-send-delay", 1)
	if err != nil {
		return err
	}
	p, err := e.producer(topic)
	if err != nil {
		return err
	}
	defer p.Shutdown()
	got, stop, err := collect(e, topic, consumer.MessageSelector{})
	if err != nil {
		return err
	}
	defer stop()
	sent := time.Now()
	if _, err = p.SendSync(context.Background(), message(topic, "T", "late").WithDelayTimeLevel(2)); err != nil {
		return err
	}
	if err = got.expect([]string{"late"}); err != nil {
		return err
	}
	if took := got.at[0].Sub(sent); took < 4980*time.Millisecond {
		return fmt.Errorf("came after %s", took)
	}
	return nil
}

// timerDelivers sets the time by its property: this client has no method for it.
func timerDelivers(e *env) error {
	sent := time.Now()
	got, err := sendAndExpect(e, "go-timer-delivers", func(p rocketProducer, topic string) ([]string, error) {
		m := message(topic, "T", "timed")
		m.WithProperty("TIMER_DELAY_MS", "1700")
		_, err := p.SendSync(context.Background(), m)
		return []string{"timed"}, err
	})
	if err != nil {
		return err
	}
	if took := got.at[0].Sub(sent); took < 1700*time.Millisecond {
		return fmt.Errorf("came after %s", took)
	}
	return nil
}
