// Runs every scenario of the official Go client: NAMESRV BROKER [NAME].
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

type scenario struct {
	name string
	run  func(env *env) error
}

func main() {
	rlog.SetLogLevel("error")
	env := &env{namesrv: os.Args[1], broker: os.Args[2]}
	only := ""
	if len(os.Args) > 3 {
		only = os.Args[3]
	}
	var out sync.Mutex
	var all sync.WaitGroup
	for _, s := range slices.Concat(quickstartScenarios, sendScenarios, pushScenarios, pullScenarios, filterScenarios, transactionScenarios, seenScenarios) {
		if !strings.Contains(s.name, only) {
			continue
		}
		all.Add(1)
		go func() {
			defer all.Done()
			started := time.Now()
			err := run(s, env)
			out.Lock()
			defer out.Unlock()
			seconds := time.Since(started).Seconds()
			if err == nil {
				fmt.Printf("ok %s %.2f\n", s.name, seconds)
			} else {
				fmt.Printf("FAILED %s %.2f %s\n", s.name, seconds, strings.Join(strings.Fields(err.Error()), " "))
			}
		}()
	}
	all.Wait()
}

// run gives a scenario a minute and turns a panic of the client into a failure.
func run(s scenario, env *env) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if cause := recover(); cause != nil {
				done <- fmt.Errorf("panic: %v", cause)
			}
		}()
		done <- s.run(env)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		return fmt.Errorf("not done after a minute")
	}
}
