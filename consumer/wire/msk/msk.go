// Package msk logs in to Amazon MSK with AWS credentials (IAM). It is a package of its own, since it brings a good part of
// the AWS SDK: only a build with the tag msk imports it.
package msk

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-msk-iam-sasl-signer-go/signer"

	"github.com/lapwing/lapwing/consumer/wire/oauth"
)

// Mechanism returns the mechanism of a region's clusters: OAUTHBEARER with a signed URL for a token. The credentials are
// those that the AWS SDK finds: environment, shared files, or the role of the pod or the machine.
func Mechanism(region string) (*oauth.Mechanism, error) {
	return oauth.New(source(region), nil)
}

// Error is why there is no token.
type Error struct {
	Region string
	Err    error
}

// Error says where.
func (e *Error) Error() string { return fmt.Sprintf("AWS MSK IAM in %s: %v", e.Region, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint is what to look at.
func (e *Error) Hint() string {
	return "check kafka.sasl.region and the AWS credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of the pod or machine"
}

func source(region string) oauth.Source {
	return func(ctx context.Context) (oauth.Token, error) {
		value, expires, err := signer.GenerateAuthToken(ctx, region)
		if err != nil {
			return oauth.Token{}, &Error{region, err}
		}
		return oauth.Token{Value: value, Expires: time.UnixMilli(expires)}, nil
	}
}
