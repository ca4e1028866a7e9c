package main

import (
	"testing"

	"github.com/charmbracelet/colorprofile"
)

func TestProfile(t *testing.T) {
	for _, tt := range []struct {
		detected       colorprofile.Profile
		terminal       bool
		noColor, force string
		want           colorprofile.Profile
	}{
		{colorprofile.TrueColor, true, "", "", colorprofile.TrueColor},
		{colorprofile.NoTTY, false, "", "", colorprofile.NoTTY},
		{colorprofile.TrueColor, true, "yes", "", colorprofile.ASCII},
		{colorprofile.ANSI, false, "0", "1", colorprofile.NoTTY},
		{colorprofile.NoTTY, true, "1", "", colorprofile.NoTTY},
		{colorprofile.NoTTY, false, "", "yes", colorprofile.ANSI},
		{colorprofile.TrueColor, true, "", "1", colorprofile.TrueColor},
		{colorprofile.NoTTY, false, "", "0", colorprofile.NoTTY},
	} {
		if got := profile(tt.detected, tt.terminal, tt.noColor, tt.force); got != tt.want {
			t.Errorf("profile(%v, %v, %q, %q) = %v, want %v", tt.detected, tt.terminal, tt.noColor, tt.force, got, tt.want)
		}
	}
}
