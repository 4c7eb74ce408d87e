package mail

import (
	"context"
	"io"
)

// Delivery is a message that is handed to somebody who carries it to its recipients.
type Delivery struct {
	Env  *Envelope
	Msg  io.ReaderAt // in local form
	Size int64       // its octets
	// Done is called once, with one result for each recipient, in their order. Env and Msg are not used after that.
	Done func([]Result)
}

// Fail is Done with the same trouble for everybody.
func (d *Delivery) Fail(result Result) {
	results := make([]Result, len(d.Env.Rcpts))
	for i, rcpt := range d.Env.Rcpts {
		results[i] = result
		results[i].Recipient = rcpt
	}
	d.Done(results)
}

// Room is what a destination has for one more message.
type Room uint8

// Where nothing is heard of a destination few may go there, so who is told of room is counted.
const (
	Crowded  Room = iota // it would have to wait for others, nobody knows for how long
	Reserved             // it is expected now
	Free                 // so would many others be
)

// Lane is the way to one destination, on which messages can follow each other.
type Lane interface {
	// Key tells lanes apart: what is for lanes of the same key may go by any of them.
	Key() string
	// Room says whether one more message may come.
	Room() Room
	// Carry delivers first, and then what next gives, until that is nothing or there is no point in going on. It calls next while
	// one message is still on its way, so that the next one can be begun, and Done of each before it returns. An end of ctx is a
	// temporary failure.
	Carry(ctx context.Context, first *Delivery, next func() *Delivery)
}
