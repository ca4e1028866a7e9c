package main

import (
	"testing"

	"github.com/charmbracelet/colorprofile"
)

func TestProfile(t *testing.T) {
	for _, tt := range []struct {
		detected       colorprofile.Profile
		noColor, force string
		want           colorprofile.Profile
	}{
		{colorprofile.TrueColor, "", "", colorprofile.TrueColor},
		{colorprofile.NoTTY, "", "", colorprofile.NoTTY},
		{colorprofile.TrueColor, "yes", "", colorprofile.NoTTY},
		{colorprofile.ANSI, "0", "1", colorprofile.NoTTY},
		{colorprofile.NoTTY, "1", "", colorprofile.NoTTY},
		{colorprofile.NoTTY, "", "yes", colorprofile.ANSI},
		{colorprofile.TrueColor, "", "1", colorprofile.TrueColor},
		{colorprofile.NoTTY, "", "0", colorprofile.NoTTY},
	} {
		if got := profile(tt.detected, tt.noColor, tt.force); got != tt.want {
			t.Errorf("profile(%v, %q, %q) = %v, want %v", tt.detected, tt.noColor, tt.force, got, tt.want)
		}
	}
}
