package consumertest

import "syscall"

// dieWithParent has the system kill a process when its parent ends: a test's process that is killed, or that panics for
// its time-out, ends nothing by itself.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
