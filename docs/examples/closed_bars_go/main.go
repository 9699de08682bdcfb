// Prints each bar once it is closed: go run . [SYMBOL [TIMEFRAME]]
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/gorilla/websocket"
)

type message struct {
	Type string
	Bar  struct {
		T             int64
		O, H, L, C, V json.Number
		IsFinal       bool
	}
}

func or(at int, usual string) string {
	if len(os.Args) > at {
		return os.Args[at]
	}
	return usual
}

func main() {
	feed := os.Getenv("FEED")
	if feed == "" {
		feed = "http://127.0.0.1:8700"
	}
	socket, _, err := websocket.DefaultDialer.Dial(strings.Replace(feed, "http", "ws", 1)+"/v1/stream", nil)
	if err != nil {
		log.Fatal(err)
	}
	socket.WriteJSON(map[string]any{
		"action": "subscribe", "symbol": or(1, "SIMULATED:BTCUSD"), "timeframe": or(2, "1m"), "limit": 1})
	for {
		var found message
		if err := socket.ReadJSON(&found); err != nil {
			log.Fatal(err)
		}
		if (found.Type == "candle" || found.Type == "amend") && found.Bar.IsFinal {
			fmt.Println(found.Type, found.Bar.T, found.Bar.O, found.Bar.H, found.Bar.L, found.Bar.C, found.Bar.V)
		}
	}
}
