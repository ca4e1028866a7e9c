package main

import (
	"fmt"
	"testing"

	"github.com/headroom-rpc/headroom/permit"
)

// One second of a screen with that many sessions: a list that is taken up, and a drawing.
func BenchmarkTop(b *testing.B) {
	for _, sessions := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			news := busyNews()
			for i := range sessions {
				news.permits.sessions = append(news.permits.sessions, permit.SessionAccount{
					Name: fmt.Sprintf("%016x", i), Client: "crawler", State: permit.SessionLive,
					Shares: []permit.SessionShare{{Resource: "api", Held: 1, Want: int64(i)}},
				})
			}
			m := topOf(80, 24)
			for b.Loop() {
				m.Update(news)
				m.View()
			}
		})
	}
}
