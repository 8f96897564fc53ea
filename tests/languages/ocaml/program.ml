(* A ledger: reads movements of money, refuses what cannot be, prints what is left. *)
module Accounts = Map.Make (String)

type movement =
  | Deposit of string * int
  | Withdraw of string * int
  | Transfer of string * string * int

exception Refused of string

let refuse format = Printf.ksprintf (fun why -> raise (Refused why)) format

let parse line =
  match String.split_on_char ' ' line with
  | [ "deposit"; name; amount ] -> Deposit (name, int_of_string amount)
  | [ "withdraw"; name; amount ] -> Withdraw (name, int_of_string amount)
  | [ "transfer"; source; target; amount ] -> Transfer (source, target, int_of_string amount)
  | _ -> refuse "cannot read %S" line

let held name accounts = Option.value ~default:0 (Accounts.find_opt name accounts)
let deposit name amount accounts = Accounts.add name (held name accounts + amount) accounts

let withdraw name amount accounts =
  let before = held name accounts in
  if before < amount then refuse "%s has only %d" name before;
  Accounts.add name (before - amount) accounts

let apply accounts = function
  | Deposit (name, amount) -> deposit name amount accounts
  | Withdraw (name, amount) -> withdraw name amount accounts
  | Transfer (source, target, amount) ->
      accounts |> withdraw source amount |> deposit target amount

let rec read number accounts =
  match input_line stdin with
  | exception End_of_file -> accounts
  | line ->
      let after =
        try apply accounts (parse line)
        with Refused why ->
          Printf.printf "line %d: %s\n" number why;
          accounts
      in
      read (number + 1) after

let () =
  let accounts = read 1 Accounts.empty in
  Accounts.iter (Printf.printf "%s %d\n") accounts;
  Printf.printf "total %d\n" (Accounts.fold (fun _ amount sum -> sum + amount) accounts 0)
