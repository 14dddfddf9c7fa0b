/** A program made for AWS, which knows nothing of Mintmark: for each line that it reads it asks STS who it is. */
import { createInterface } from 'node:readline';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';

const client = new STSClient();

for await (const _ of createInterface({ input: process.stdin })) {
  const answer = await client.send(new GetCallerIdentityCommand()).then(
    ({ Arn: arn, UserId: userId }) => ({ arn, userId }),
    ({ name, message }: Error) => ({ error: name, message }),
  );
  console.log(JSON.stringify(answer));
}
