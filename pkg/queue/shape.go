package queue

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
)

// ShapeAges are the ages by which Shape counts, each twice the one before.
func ShapeAges() [9]time.Duration {
	var ages [9]time.Duration
	for i := range ages {
		ages[i] = 5 * time.Minute << i
	}
	return ages
}

// ShapeRow is how many messages wait for a domain, by their age: Counts[0] has those of at most 5 minutes, Counts[1] those
// of at most 10, and so on; the last one those that are older than all of ShapeAges.
type ShapeRow struct {
	Domain string // in lower case; "" for recipients without one
	Total  int
	Counts [10]int
}

// Shape counts what waits: messages by the domains of the recipients that are still to do, or with bySender by that of
// the sender. The rows come with the highest count first; total counts each message once. What is damaged is not counted.
func (q *Queue) Shape(ctx context.Context, bySender bool) (rows []ShapeRow, total ShapeRow, err error) {
	now := q.opt.Now()
	byDomain := map[string]*ShapeRow{}
	for item, err := range q.List(ctx) {
		if err != nil && item.ID == "" {
			return nil, total, err
		}
		if err != nil || item.Damaged != nil || item.State == StateFailed {
			continue
		}
		bucket := bucketOf(now.Sub(item.Arrived))
		total.add(bucket)
		for _, domain := range domainsOf(&item, bySender) {
			row := byDomain[domain]
			if row == nil {
				row = &ShapeRow{Domain: domain}
				byDomain[domain] = row
			}
			row.add(bucket)
		}
	}
	for _, row := range byDomain {
		rows = append(rows, *row)
	}
	slices.SortFunc(rows, func(a, b ShapeRow) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), strings.Compare(a.Domain, b.Domain))
	})
	return rows, total, nil
}

func (r *ShapeRow) add(bucket int) {
	r.Total++
	r.Counts[bucket]++
}

func bucketOf(age time.Duration) int {
	ages := ShapeAges()
	for i, limit := range ages {
		if age <= limit {
			return i
		}
	}
	return len(ages)
}

// domainsOf gives each domain once.
func domainsOf(item *Item, bySender bool) (domains []string) {
	if bySender {
		return []string{strings.ToLower(item.Sender.Domain)}
	}
	for i := range item.Rcpts {
		domain := strings.ToLower(item.Rcpts[i].Domain)
		if item.Rcpts[i].State == RcptPending && !slices.Contains(domains, domain) {
			domains = append(domains, domain)
		}
	}
	return domains
}
