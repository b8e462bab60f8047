from wxbot.cli.main import main

main()
