//go:build msk

package main

import (
	"github.com/segmentio/kafka-go/sasl"

	"github.com/lapwing/lapwing/consumer/wire/msk"
)

func init() {
	mskMechanism = func(region string) (sasl.Mechanism, error) { return msk.Mechanism(region) }
}
