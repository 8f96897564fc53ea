// Submits a program, shows its output while it runs, and ends with the verdict.
//
//	go run .                 a first program
//	go run . FILE LANGUAGE   one of your own
//
// SENTINEL_ENDPOINT names the service; default localhost:8080.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "example.org/sentinel-client/gen/sentinel/v1"
)

const firstProgram = `import time
for n in range(1, 4):
    print(f"line {n}", flush=True)
    time.sleep(0.3)
`

const (
	mostMessageBytes = 64 << 20
	resumeDelay      = 200 * time.Millisecond
	resumeTries      = 50
)

func main() {
	verdict, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, status.Convert(err).Message())
		os.Exit(2)
	}
	if verdict != pb.Status_SUCCESS {
		os.Exit(1)
	}
}

func run(args []string) (pb.Status, error) {
	request := &pb.SubmitRequest{Language: "python", SourceCode: firstProgram}
	if len(args) == 2 {
		source, err := os.ReadFile(args[0])
		if err != nil {
			return 0, err
		}
		request.SourceCode, request.Language = string(source), args[1]
	}
	// The key makes it safe to ask again when no answer came.
	request.IdempotencyKey = rand.Text()

	endpoint := cmp.Or(os.Getenv("SENTINEL_ENDPOINT"), "localhost:8080")
	connection, err := grpc.NewClient(endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(mostMessageBytes)))
	if err != nil {
		return 0, err
	}
	defer connection.Close()

	receipt, err := pb.NewSchedulerServiceClient(connection).Submit(context.Background(), request)
	if err != nil {
		return 0, err
	}
	fmt.Fprintln(os.Stderr, "job", receipt.JobId)
	submission, err := watch(pb.NewStatusServiceClient(connection), receipt.JobId, show)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(os.Stderr, "%s · %s\n", submission.Status, submission.GetEvidence().GetExplanation())
	return submission.Status, nil
}

// watch hands every event over once and in order, and returns the result.
// A broken line is resumed after the last sequence seen.
func watch(client pb.StatusServiceClient, job string, tell func(*pb.Event)) (*pb.Submission, error) {
	var after int32
	for tries := 0; ; {
		stream, err := client.WatchSubmission(context.Background(),
			&pb.WatchSubmissionRequest{JobId: job, AfterSequence: after})
		for err == nil {
			var answer *pb.WatchSubmissionResponse
			if answer, err = stream.Recv(); err != nil {
				break
			}
			tries, after = 0, max(after, answer.Event.Sequence)
			if result := answer.Event.GetResult(); result != nil {
				return result.Submission, nil
			}
			tell(answer.Event)
		}
		broken := errors.Is(err, io.EOF) || status.Code(err) == codes.Unavailable
		if tries++; !broken || tries > resumeTries {
			return nil, err
		}
		time.Sleep(resumeDelay)
	}
}

func show(event *pb.Event) {
	switch kind := event.Kind.(type) {
	case *pb.Event_Status:
		fmt.Fprintln(os.Stderr, kind.Status.Status)
	case *pb.Event_Output:
		stream := os.Stderr
		if kind.Output.Stream == pb.Stream_STREAM_STDOUT {
			stream = os.Stdout
		}
		stream.Write(kind.Output.Data)
	}
}
