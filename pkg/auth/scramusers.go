package auth

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"slices"

	"mailx/pkg/vfs"
)

// saltFile is what the name of the file has behind that of the user file which keeps the salts of made-up keys the same.
// Whoever reads it can tell names that are users from names that are not.
const saltFile = ".salt"

// scramShape is what a client sees of a user's keys, besides the salt itself, before it has proved anything.
type scramShape struct{ iterations, saltSize int }

// ScramKeys gives the keys of a user for SCRAM-SHA-256 and the canonical name. A name that is unknown, or that has no
// keys, gets keys that no password fits, and the same ones each time. The client can't see the difference: their
// iterations and the length of their salt are those of a user with keys, chosen by the name, and where the passwords of
// some users have to be derived into keys first, that work is done for every name.
func (u *Users) ScramKeys(name string) (User, ScramKeys, error) {
	file, err := u.load()
	if err != nil {
		return User{}, ScramKeys{}, err
	}
	canonical, e, _ := file.find(name)
	if e.err != nil {
		return User{}, ScramKeys{}, errUnavailable(e.err)
	}
	made := u.madeKeys(file, cmp.Or(canonical, name), e.secret.plain)
	switch {
	case e.scram != nil:
		return User{canonical, e.fields}, *e.scram, nil
	case e.secret.plain != "":
		return User{canonical, e.fields}, made, nil
	}
	return User{}, made, nil
}

// madeKeys are keys for a name that has none; without a password they fit none.
func (u *Users) madeKeys(file *userFile, name, password string) ScramKeys {
	key := u.saltKey(file)
	seed := func(what string) []byte { return mac(key, what+name) }
	shape := file.shapeOf(seed("shape "))
	salt := append(seed("salt "), seed("more salt ")...)[:shape.saltSize]
	if !file.derives {
		return ScramKeys{shape.iterations, salt, seed("stored "), seed("server ")}
	}
	u.hashing <- struct{}{}
	defer func() { <-u.hashing }()
	return u.derive(cmp.Or(password, string(seed("password "))), salt, shape.iterations)
}

// shapeOf picks by a number that is as good as random: each shape is as likely for a name that is no user as for one that
// is. Where nobody has keys all get the least work.
func (f *userFile) shapeOf(number []byte) scramShape {
	if len(f.shapes) == 0 {
		return scramShape{minIterations, saltSize}
	}
	return f.shapes[binary.BigEndian.Uint64(number)%uint64(len(f.shapes))]
}

// Proof says how somebody can prove who he is.
type Proof string

// What the secret of a line can do.
const (
	ProofScram     Proof = "scram"     // with SCRAM, and with the password
	ProofPassword  Proof = "password"  // with the password only: SCRAM is not offered
	ProofCommand   Proof = "command"   // there is no secret: only a Checker knows
	ProofMalformed Proof = "malformed" // not at all
)

// Proof looks at the line of a name as List gives it. It gives ErrNoUser; other errors are temporary.
func (u *Users) Proof(name string) (Proof, error) {
	file, err := u.load()
	if err != nil {
		return "", err
	}
	e, ok := file.entries[name]
	if !ok {
		return "", ErrNoUser
	}
	return e.proof(), nil
}

func (e entry) proof() Proof {
	switch {
	case e.err != nil:
		return ProofMalformed
	case e.scram != nil || e.secret.plain != "":
		return ProofScram
	case e.secret.check != nil:
		return ProofPassword
	}
	return ProofCommand
}

// survey looks at what the lines have in common.
func (f *userFile) survey() {
	for _, e := range f.entries {
		switch proof := e.proof(); {
		case proof == ProofScram && e.scram != nil:
			f.shapes = append(f.shapes, scramShape{e.scram.Iterations, len(e.scram.Salt)})
		case proof == ProofScram:
			f.derives = true
		case proof != ProofMalformed:
			f.lacksKeys = true
		}
	}
	slices.SortFunc(f.shapes, func(a, b scramShape) int {
		return cmp.Or(cmp.Compare(a.iterations, b.iterations), cmp.Compare(a.saltSize, b.saltSize))
	})
}

// saltKey is random, secret, and the same for all processes: salts that changed with the process or with the file would
// give away the names that are no users. It is made when it is first needed. A server that may not make it takes the
// digest of the file.
func (u *Users) saltKey(file *userFile) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.salt != nil {
		return u.salt
	}
	key, err := vfs.ReadFile(u.fsys, u.path+saltFile, sha256.Size)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, sha256.Size)
		rand.Read(key)
		err = vfs.WriteFile(u.fsys, u.path+saltFile, rand.Text(), key)
	}
	if err != nil || len(key) != sha256.Size {
		return file.digest[:]
	}
	u.salt = key
	return key
}
