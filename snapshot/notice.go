package snapshot

// notice tells those who wait that there is something new. The owner guards it.
type notice struct {
	c      chan struct{}
	waited bool // somebody has c
}

// wait returns a channel that the next tell closes.
func (n *notice) wait() <-chan struct{} {
	if !n.waited {
		n.c, n.waited = make(chan struct{}), true
	}
	return n.c
}

func (n *notice) tell() {
	if n.waited {
		close(n.c)
		n.waited = false
	}
}
