//go:build !linux

package consumertest

import "syscall"

// dieWithParent asks for nothing: only Linux can do it.
func dieWithParent() *syscall.SysProcAttr { return nil }
