package permit

import "time"

// expiry is a heap of sessions by the time at which their charge ends if they are not heard from. Each session
// knows its place in it.
type expiry []*session

func (h expiry) less(i, j int) bool { return h[i].expires < h[j].expires }

func (h expiry) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// push adds s, to expire at the time.
func (h *expiry) push(s *session, at time.Duration) {
	s.expires, s.place = at, len(*h)
	*h = append(*h, s)
	h.up(s.place)
}

// move lets s expire at another time.
func (h expiry) move(s *session, at time.Duration) {
	s.expires = at
	h.down(h.up(s.place))
}

// remove takes s out.
func (h *expiry) remove(s *session) {
	i, last := s.place, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	if i < last {
		h.down(h.up(i))
	}
}

func (h expiry) up(i int) int {
	for i > 0 && h.less(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	return i
}

func (h expiry) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
