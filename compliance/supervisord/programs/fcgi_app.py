"""Accepts on fd 0, as a FastCGI program does, and answers each connection with its pid."""

import os
import socket


def main():
    listening = socket.socket(fileno=0)
    while True:
        client, _ = listening.accept()
        client.sendall(f"pid {os.getpid()} name {os.environ.get('SUPERVISOR_PROCESS_NAME')}\n".encode())
        client.close()


main()
