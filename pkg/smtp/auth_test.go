package smtp

import (
	"context"

	"mailx/pkg/auth"
	"mailx/pkg/mail"
)

// Offers says that bob has tokens too.
func (bobOnly) Offers(string) bool { return true }

// AuthenticateToken knows bob's token, which is sunny; about others whose token is cloudy nobody can tell.
func (bobOnly) AuthenticateToken(_ context.Context, name, token string) (auth.User, error) {
	switch {
	case token == "cloudy":
		return auth.User{}, mail.Temporaryf(7, 0, "Temporary authentication failure")
	case name != "bob" || token != "sunny":
		return auth.User{}, mail.Permanentf(7, 8, "Authentication credentials invalid")
	}
	return auth.User{Name: name}, nil
}
